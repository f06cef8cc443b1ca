"""No dependency sends or stores usage reports; checked at the level of system calls, below Python."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sealed
import yaml
from dvc_stages import PARAMS, stages
from scratch_clone import tiny_profile

ROOT = Path(__file__).resolve().parents[1]
OURS = PARAMS["export"]["method"]
CODE = [path for top in ("src", "pipeline", "benchmarks", "tests", "data") for path in (ROOT / top).rglob("*.py")]
OPT_OUTS = ("ORT_DISABLE_TELEMETRY", "NO_ALBUMENTATIONS_UPDATE", "HF_HUB_DISABLE_TELEMETRY")
CI_MARKS = (  # if one of these is set, ONNX Runtime sends nothing
    *("CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "TRAVIS", "JENKINS_URL", "CODEBUILD_BUILD_ID"),
    *("BUILDKITE", "TEAMCITY_VERSION", "APPVEYOR", "BITBUCKET_BUILD_NUMBER"),
)
needs_seccomp = pytest.mark.skipif(not sealed.is_supported(), reason="needs Linux's seccomp")


@pytest.fixture
def sealed_python(tmp_path):
    """Run a module without network, in new home and temporary folders; return the process and the files left there."""
    homes = {name: tmp_path / name.lower() for name in ("HOME", "TMPDIR")}
    for home in homes.values():
        home.mkdir()
    env = {key: value for key, value in os.environ.items() if key not in (*OPT_OUTS, *CI_MARKS, "XDG_CACHE_HOME")}
    env |= {name: str(home) for name, home in homes.items()}
    env |= {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT, tmp_path)))}

    def run(kind, *words, **options):
        command = [sys.executable, str(ROOT / "tests" / "sealed.py"), kind, *words]
        ran = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, **options)
        left = [path for home in homes.values() for path in home.rglob("*") if path.is_file()]
        return ran, [path.relative_to(tmp_path).as_posix() for path in left]

    run.env = env
    return run


@needs_seccomp
@pytest.mark.parametrize(("kind", "line"), [("inet", "socket.socket()"), ("connect", "socket.create_connection(a)")])
def test_seal_kills_at_first_network_call(sealed_python, tmp_path, kind, line):
    (tmp_path / "reach_out.py").write_text(
        f"import socket\na = ('127.0.0.1', 9)\nprint('before', flush=True)\n{line}\n"
    )
    ran, _ = sealed_python(kind, "reach_out")
    assert (ran.stdout, ran.returncode) == ("before\n", -signal.SIGSYS)


@needs_seccomp
def test_bare_onnxruntime_leaves_files(sealed_python, tmp_path):
    """If this fails, ONNX Runtime no longer writes such files, and turning its telemetry off is unnecessary."""
    (tmp_path / "bare.py").write_text("import onnxruntime; print(onnxruntime.__version__)")
    ran, left = sealed_python("inet", "bare")
    version = tuple(map(int, ran.stdout.split(".")[:2]))
    assert ran.returncode == 0
    assert bool(left) == (version >= (1, 32))


@needs_seccomp
def test_painting_sends_nothing_and_leaves_no_files(sealed_python, tmp_path, model, sample):
    avatar = tmp_path / "avatar.png"
    selfie = sample / "selfies" / "0006.jpg"
    ran, left = sealed_python("inet", "portraitist", "paint", str(selfie), "-o", str(avatar), "--model", str(model))
    assert ran.returncode == 0, ran.stderr
    assert avatar.exists()
    assert left == []


@needs_seccomp
def test_static_site_build_sends_and_leaves_nothing(sealed_python, tmp_path, model):
    """onnxruntime-web is not downloaded: a package that replaces it is passed, as with --runtime."""
    (tmp_path / "build.py").write_text(f"""if True:
        import base64, hashlib, io, sys, tarfile
        from portraitist.app import site_builder
        from portraitist.cli import main
        with tarfile.open("ort.tgz", "w") as package:
            for name in site_builder.RUNTIME_FILES:
                package.addfile(tarfile.TarInfo(f"package/dist/{{name}}"), io.BytesIO())
        digest = hashlib.sha512(open("ort.tgz", "rb").read()).digest()
        site_builder.RUNTIME_SHA512 = base64.b64encode(digest).decode()
        sys.argv[1:] = ["site", "-o", "page", "--runtime", "ort.tgz", "--model", {str(model)!r}]
        main()
    """)
    ran, left = sealed_python("inet", "build")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "page" / "index.html").exists()
    assert left == []


@needs_seccomp
def test_importing_every_module_sends_and_leaves_nothing(sealed_python, tmp_path):
    modules = sorted(
        re.sub(r"(\.__init__)?\.py$", "", ".".join(path.relative_to(top).parts))
        for top, folder in ((ROOT / "src", "portraitist"), (ROOT, "pipeline"))
        for path in (top / folder).rglob("*.py")
        if path.name != "__main__.py"
    )
    lines = [f"importlib.import_module({name!r})" for name in modules]
    (tmp_path / "all_modules.py").write_text("\n".join(["import importlib", *lines, f"print({len(modules)})"]))
    ran, left = sealed_python("connect", "all_modules")  # urllib3 binds ::1 to learn whether IPv6 works
    assert ran.returncode == 0, ran.stderr
    assert left == []


@needs_seccomp
def test_server_never_connects_and_leaves_no_files(sealed_python, tmp_path, model):
    """The server starts, answers one request, and ends; it would be killed if it opened a connection."""
    (tmp_path / "ask.py").write_text(f"""if True:
        import subprocess, sys, signal, time, urllib.request, socket
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = ["connect", "portraitist", "serve", "--model", {str(model)!r}, "--port", str(port)]
        with subprocess.Popen([sys.executable, {str(ROOT / "tests" / "sealed.py")!r}, *words]) as server:
            for _ in range(300):
                time.sleep(0.1)
                try:
                    page = urllib.request.urlopen(f"http://127.0.0.1:{{port}}/", timeout=5).read()
                    break
                except OSError:
                    assert server.poll() is None, server.returncode
            server.send_signal(signal.SIGINT)
            assert server.wait(30) in (0, 130, -2), server.returncode
        print(len(page))
    """)
    env = sealed_python.env
    ran = subprocess.run([sys.executable, "ask.py"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout.split()[-1]) > 1000
    assert not [path for name in ("home", "tmpdir") for path in (tmp_path / name).rglob("*") if path.is_file()]


@needs_seccomp
@pytest.mark.slow
def test_stages_send_and_leave_nothing(sealed_python, tmp_path, pretrained):
    """Run the stages of `dvc repro export`, except `weights`, which has to download."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    (tmp_path / "profiles" / "sample.yaml").write_text(yaml.safe_dump(tiny_profile()))
    for folder in ("data/raw", "data/local/backgrounds", "data/local/identity", "metrics", "models"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data" / "sample").symlink_to(ROOT / "data" / "sample")
    (tmp_path / "data" / "blocklist.txt").touch()
    (tmp_path / "models" / "pretrained").symlink_to(pretrained)
    data = ("sources", *(f"collect@{name}" for name in PARAMS["sources"]), "clean", "crop", "mask", "split", "augment")
    model = ("train_generator", "train_mask", f"train@{OURS}", f"paint@{OURS}", "evaluate_selfies", f"evaluate@{OURS}")
    for name in (*data, *model, "export"):
        ran, left = sealed_python("connect", *shlex.split(stages()[name]["cmd"])[2:])
        assert ran.returncode == 0, (name, ran.stderr)
        assert left == [], name
    assert (tmp_path / "models" / "portraitist" / "portraitist.onnx").is_file()


def test_onnxruntime_is_imported_after_portraitist():
    """Importing the package turns telemetry off, so a file that imports the runtime must import the package first."""
    offenders = []
    for path in CODE:
        if path.is_relative_to(ROOT / "src"):
            continue  # importing any module of the package runs its __init__ first
        text = path.read_text(encoding="utf-8")
        runtime = re.search(r"^\s*(import|from) onnxruntime", text, re.MULTILINE)
        if runtime and "tests" not in path.parts and "portraitist" not in text[: runtime.start()]:
            offenders.append(path.relative_to(ROOT).as_posix())
    assert offenders == []
