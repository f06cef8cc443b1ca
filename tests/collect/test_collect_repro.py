"""`dvc repro` of stage collect in a scratch clone, against a fake web."""

from pathlib import Path

import pytest
import yaml
from drawn import encoded, smooth
from fakeweb import Reply, fake_web
from scratch_clone import ScratchClone

pytestmark = pytest.mark.slow

WEB = "with HttpClient(fetch, Blocklist.read(BLOCKLIST)) as web:"


def test_edited_docstring_collects_again_without_any_request(tmp_path: Path):
    clone = ScratchClone(tmp_path / "clone")
    with fake_web(tmp_path) as fake:
        for number in range(3):
            fake.pages[f"a.example/{number}"] = Reply(encoded(smooth(number), "PNG"))
        lines = ["url,kind", *(f"http://a.example/{name},portraits" for name in (0, 1, 2, "none"))]
        (clone.folder / "data" / "local" / "urls" / "list.csv").write_text("\n".join(lines))
        params = clone.folder / "params.yaml"
        content = yaml.safe_load(params.read_text())
        content["sources"] = ["urls"]
        content["limits"]["urls"] = 9
        content["fetch"] |= {"contact": "me@example.org", "seconds_per_host": 0.0}
        params.write_text(yaml.safe_dump(content))
        stage = clone.folder / "pipeline" / "collect.py"
        script, port = stage.read_text(), fake.http_server.server_port
        assert WEB in script
        allow = f"allow={{('127.0.0.1', {port})}}, resolve=lambda *_, **__: [(2, 1, 6, '', ('127.0.0.1', {port}))]"
        stage.write_text(script.replace(WEB, WEB.replace("(BLOCKLIST)", f"(BLOCKLIST), {allow}")))

        outputs, requests = [], []
        for stages in (["sources", "collect@urls"], ["collect@urls"]):
            assert clone.stages_run_by("dvc", "repro", "collect@urls") == stages
            outputs.append(clone.locked_outputs()["collect@urls"])
            requests.append([request.path for request in fake.log])
            http = clone.folder / "src" / "portraitist" / "collect" / "http.py"
            http.write_text(http.read_text().replace('"""The HTTP client', '"""The edited HTTP client'))
    assert sorted(requests[0]) == ["/0", "/1", "/2", "/none", "/robots.txt"]
    assert requests[1] == requests[0]
    assert outputs[1] == outputs[0]
    assert clone.git("status", "--porcelain", ".fetch-cache") == ""
