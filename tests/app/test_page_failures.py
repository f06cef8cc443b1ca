"""The web page when something fails, and while the visitor waits."""

import pytest
from app_helpers import web_server
from browser import tab
from page_driver import PHONE, READY, choose, messages, opened, upload, wait_until

from portraitist.app.site_builder import build_site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def selfies(sample):
    return [sample / "selfies" / f"{number:04d}.jpg" for number in (6, 14, 0)]


@pytest.fixture(scope="module")
def styled(shipped, runtime, tmp_path_factory):
    """The address of a static site whose model has several styles."""
    folder = tmp_path_factory.mktemp("styled") / "page"
    build_site(shipped, folder, runtime)
    with web_server(folder) as address:
        yield address


def test_failed_repaint_keeps_the_avatar_and_can_be_tried_again(server, selfies):
    with tab(*PHONE) as page:
        opened(page, server)
        upload(page, selfies[0])
        page.route("**/faces", lambda route: route.abort())
        choose(page, "#align")
        wait_until(lambda: "does not respond" in page.inner_text("#error"))
        assert page.is_visible("#after")
        page.route("**/avatar", lambda route: route.abort())
        page.click("#download")
        wait_until(lambda: page.is_enabled("#download"))
        assert page.is_visible("#retry")
        page.unroute("**/faces")
        page.click("#retry")
        wait_until(lambda: messages(page) == (READY, ""))
        assert page.is_hidden("#retry")


def test_request_is_sent_again_if_the_server_is_busy(server, selfies):
    answers = []

    def busy(route):
        answers.append(route.request.url)
        if len(answers) == 1:
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "too many"})
        else:
            route.continue_()

    with tab(*PHONE) as page:
        opened(page, server)
        page.route("**/faces", busy)
        page.set_input_files("#selfie", selfies[0])
        wait_until(lambda: "tries again in 1 s" in page.inner_text("#status"))
        wait_until(lambda: messages(page) == (READY, ""))
        assert len(answers) == 2


def test_unusable_example_is_named_and_another_style_paints(styled, selfies, tmp_path):
    (tmp_path / "note.jpg").write_bytes(b"hello")
    with tab(*PHONE) as page:
        opened(page, styled)
        upload(page, selfies[0])
        page.set_input_files("#like", tmp_path / "note.jpg")
        wait_until(lambda: page.inner_text("#error").startswith("the portrait to paint like: not a picture"))
        assert page.is_visible("#after")
        page.set_input_files("#selfie", selfies[1])  # fails in the same way
        wait_until(lambda: "0014.jpg" in page.inner_text("#error"))
        choose(page, "[name=style][value=house]")
        page.set_input_files("#selfie", selfies[2])
        wait_until(lambda: page.inner_text("#status") == "2 avatars are ready.")
        page.get_by_role("button", name="Avatar 2: 0014.jpg, not painted").click()  # it is painted in the new style
        wait_until(lambda: page.inner_text("#status") == "3 avatars are ready.")
        assert page.inner_text("#error") == ""


def test_arrow_keys_choose_styles_and_open_no_file_dialog(styled, selfies):
    with tab(*PHONE) as page:
        opened(page, styled)
        upload(page, selfies[0])
        dialogs = []
        page.on("filechooser", lambda dialog: dialogs.append(dialog))  # noqa: PLW0108 (Playwright needs a function)
        page.focus("[name=style][value=house]")
        names = page.eval_on_selector_all("[name=style]", "inputs => inputs.map(input => input.value)")
        for name in names[1:]:
            page.keyboard.press("ArrowRight")
            assert page.is_checked(f"[name=style][value='{name}']")
        assert (len(names) > 2, dialogs) == (True, [])


def test_model_that_was_not_loaded_can_be_loaded_again(static, selfies):
    with tab(*PHONE) as page:
        page.route("**/models/*.onnx", lambda route: route.abort())
        opened(page, static)
        assert page.inner_text("#error").startswith("The model cannot be loaded")
        page.route("**/paint_worker.js", lambda route: route.abort())
        page.click("#retry")
        wait_until(lambda: "a script cannot be loaded" in page.inner_text("#error"))
        page.unroute("**/paint_worker.js")
        page.set_input_files("#selfie", selfies[0])
        wait_until(lambda: page.is_hidden("#progress"))
        assert page.is_visible("#drop")
        page.unroute("**/models/*.onnx")
        page.click("#retry")
        wait_until(lambda: messages(page) == (READY, ""))


def test_photo_chosen_before_the_scripts_are_loaded_is_painted(server, selfies):
    with tab(*PHONE) as page:
        page.route("**/options.js", lambda route: page.wait_for_timeout(1500) or route.continue_())
        page.goto(server, wait_until="commit")
        page.set_input_files("#selfie", selfies[0])
        wait_until(lambda: messages(page) == (READY, ""))


def test_selection_moves_to_a_photo_that_was_painted(server, selfies, tmp_path):
    (tmp_path / "note.jpg").write_bytes(b"hello")
    with tab(*PHONE) as page:
        opened(page, server)
        page.set_input_files("#selfie", [tmp_path / "note.jpg", selfies[0]])
        wait_until(lambda: page.inner_text("#status") == READY)
        assert page.inner_text("#error").startswith("note.jpg: not a picture")
        assert page.is_enabled("#download")
        assert page.is_visible("#after")
        assert page.is_hidden("#retry")  # a new attempt would fail in the same way


def test_file_has_the_name_of_the_photo_that_was_selected(server, selfies):
    with tab(*PHONE) as page:
        opened(page, server)
        page.set_input_files("#selfie", selfies[:2])
        wait_until(lambda: page.inner_text("#status") == "2 avatars are ready.")
        page.route("**/avatar", lambda route: page.wait_for_timeout(800) or route.continue_())
        with page.expect_download() as waiting:
            page.click("#download")
            page.get_by_role("button", name="Avatar 2").click()
            assert page.is_disabled("#download")  # until the file is ready
        assert waiting.value.suggested_filename == "0006-avatar.png"
        wait_until(lambda: page.is_enabled("#download"))


def test_focus_stays_in_the_list_while_photos_are_painted(server, selfies, pair):
    with tab(*PHONE) as page:
        opened(page, server)
        page.route("**/faces", lambda route: page.wait_for_timeout(500) or route.continue_())
        page.set_input_files("#selfie", [selfies[0], pair, selfies[1]])
        wait_until(lambda: page.is_visible("#strip"))
        page.focus("#strip li:nth-child(3) button")
        wait_until(lambda: page.inner_text("#status") == "4 avatars are ready.")
        assert page.evaluate("document.activeElement.ariaLabel.startsWith('Avatar 4: 0014.jpg')")


def test_camera_can_be_used_after_the_first_photo(static, selfies):
    with tab(*PHONE, ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")) as page:
        opened(page, static)
        upload(page, selfies[0])
        assert page.is_visible("#result .live")
        page.click("#result .camera")
        wait_until(lambda: page.is_visible("#viewfinder"))
        page.click("#close-camera")
        wait_until(lambda: not page.is_visible("#viewfinder"))


def test_only_the_chosen_face_is_painted(static, pair):
    paint = """async (bytes) => {
        const worker = new Worker("paint_worker.js", { type: "module" });
        let count = 0;
        const call = (task, values) => new Promise((resolve) => {
            const id = ++count;
            worker.addEventListener("message", ({ data }) => { if (data.id === id) resolve(data); });
            worker.postMessage({ id, task, values });
        });
        await call("open", { useGpu: false });
        const file = new File([new Uint8Array(bytes)], "pair.png");
        const options = { style: "house", like: null, strength: 1, keepColours: false, align: false };
        const values = { id: 1, file, options, size: 256 };
        const results = [await call("paint", values), await call("paint", { ...values, only: 1 })];
        return results.map(({ result }) => result.faces.map((face) => face && Object.keys(face)));
    }"""
    with tab(*PHONE) as page:
        opened(page, static)
        both, second = page.evaluate(paint, list(pair.read_bytes()))
    assert both[0] == both[1] == second[1]
    assert "before" in second[1]
    assert second[0] is None


def test_options_changed_while_a_file_is_prepared_are_those_of_the_avatar(server, selfies):
    strengths = []

    def paint(route):
        strengths.append(route.request.post_data_buffer.split(b'name="strength"')[1].split()[0])
        page.wait_for_timeout(600)
        route.continue_()

    with tab(*PHONE) as page:
        opened(page, server)
        upload(page, selfies[0])
        page.route("**/faces", paint)
        set_strength = (
            "value => { strength.value = value; strength.dispatchEvent(new Event('change', { bubbles: true })) }"
        )
        page.evaluate(set_strength, 50)
        page.click("#download")
        page.evaluate(set_strength, 20)
        wait_until(lambda: page.is_enabled("#download") and messages(page) == (READY, ""))
        assert strengths == [b"0.5", b"0.2"]


COUNT_PAINTINGS = """
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, ...rest) {
  const { dataset } = document.documentElement;
  if (message.task === "paint") dataset.paintings = Number(dataset.paintings ?? 0) + 1;
  return post.call(this, message, ...rest);
};
"""


def paintings(page):
    return int(page.locator("html").get_attribute("data-paintings") or 0)


def test_example_is_painted_before_the_first_photo(styled, selfies):
    with tab(*PHONE) as page:
        page.add_init_script(COUNT_PAINTINGS)
        _, errors = opened(page, styled)
        wait_until(lambda: paintings(page) == 1)
        assert upload(page, selfies[0]) == (READY, "")  # it waits for the example, which is not among the avatars
        assert (paintings(page), page.locator("#strip li").count(), errors) == (2, 0, [])


def test_example_is_not_painted_if_a_photo_waits(styled, selfies):
    with tab(*PHONE) as page:
        page.add_init_script(COUNT_PAINTINGS)
        page.route("**/model.json", lambda route: (page.set_input_files("#selfie", selfies[0]), route.continue_()))
        page.goto(styled)
        wait_until(lambda: messages(page) == (READY, ""))
        assert paintings(page) == 1


def test_page_works_without_its_example(styled, selfies):
    with tab(*PHONE) as page:
        page.route("**/example_1_selfie.webp", lambda route: route.abort())
        opened(page, styled)
        assert upload(page, selfies[0]) == (READY, "")
