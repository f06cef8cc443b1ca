"""Dockerfile, compose.yaml and deploy/nginx.conf, tested without a container builder."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from app_helpers import form, request, serving, wait_until
from reach import ROOT

from portraitist.app.avatar import Portraitist
from portraitist.cli import app as cli

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
NGINX_CONF = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
FINAL_STAGE = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
ENVIRONMENT = dict(re.findall(r"(PORTRAITIST_\w+)=(\S+)", FINAL_STAGE))
COMMANDS = {key: json.loads(words) for key, words in re.findall(r"^\s*(ENTRYPOINT|CMD) (\[.*\])$", FINAL_STAGE, re.M)}
HEALTH_CHECK = json.loads(re.search(r"HEALTHCHECK.*?CMD (\[.*\])$", FINAL_STAGE, re.M)[1])

# Run in a mount and a network namespace: only /tmp is writable, and there is no network.
SANDBOX = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/model /mnt/python
mount --bind {model} /mnt/model
mount --bind {base} /mnt/python
cp {selfie} /mnt/selfie.jpg
cp {client} /mnt/client.py
mount -t tmpfs -o mode=755 tmpfs {top}
mkdir -p {base}
mount --bind /mnt/python {base}
mount -t tmpfs -o size=64m,mode=1777 tmpfs /tmp
mount -o remount,bind,ro /
mount -o remount,bind,ro /mnt
ip link set lo up
cd /
exec setpriv --reuid=54321 --regid=54321 --clear-groups --no-new-privs --bounding-set=-all \
    env -i PATH={path} PYTHONPATH={source} PYTHONDONTWRITEBYTECODE=1 PORTRAITIST_MODEL=/mnt/model \
    PORTRAITIST_WORKERS=2 PORTRAITIST_MEMORY_MB=5000 {environment} python /mnt/client.py
"""
CLIENT = f"""
import os, subprocess, sys, time, urllib.request
assert os.getuid() == 54321 and "HOME" not in os.environ
for path in ("/x", "/mnt/x", {str(ROOT / "x")!r}):
    try:
        open(path, "w")
        sys.exit(path + " can be written")
    except OSError:
        pass
server = subprocess.Popen({COMMANDS["ENTRYPOINT"] + COMMANDS["CMD"]!r})
end = time.monotonic() + 240
while subprocess.run({HEALTH_CHECK!r}, stderr=subprocess.DEVNULL).returncode:
    assert server.poll() is None and time.monotonic() < end
    time.sleep(0.5)
body = b'--x\\r\\nContent-Disposition: form-data; name="selfie"; filename="x.jpg"\\r\\n\\r\\n'
body += open("/mnt/selfie.jpg", "rb").read() + b"\\r\\n--x--\\r\\n"
headers = {{"Content-Type": "multipart/form-data; boundary=x"}}
post = urllib.request.Request("http://127.0.0.1:8000/avatar", body, headers)
with urllib.request.urlopen(post, timeout=120) as answer:
    print("painted", answer.status, answer.read()[:4] == b"\\x89PNG", flush=True)
metrics = urllib.request.urlopen("http://127.0.0.1:9100/metrics", timeout=20).read().decode()
print("counted", 'portraitist_requests_total{{endpoint="/avatar",status="200"}} 1.0' in metrics, flush=True)
server.terminate()
print("ended", server.wait(60), sum(len(files) for _, _, files in os.walk("/tmp")), flush=True)
"""


def test_image_runs_as_an_unprivileged_user():
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", FINAL_STAGE, re.M)
    assert len(re.findall(r"^FROM ", DOCKERFILE, re.M)) == 2
    assert COMMANDS == {"ENTRYPOINT": ["portraitist"], "CMD": ["serve"]}


def test_environment_variables_of_image_and_compose_exist():
    import typer.main

    options = typer.main.get_command(cli).commands["serve"].params
    known = {option.envvar for option in options}
    assert None not in known
    used = set(ENVIRONMENT) | set(COMPOSE["services"]["server"]["environment"])
    assert used - known == set()


def test_compose_services_are_confined():
    for name, service in COMPOSE["services"].items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["mem_limit"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"], name
    server, proxy = COMPOSE["services"]["server"], COMPOSE["services"]["proxy"]
    assert "ports" not in server
    assert server["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert proxy["volumes"] == ["./deploy/nginx.conf:/etc/nginx/nginx.conf:ro"]


def test_image_build_without_a_builder_is_explained(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    (tmp_path / "make").symlink_to(shutil.which("make"))
    (tmp_path / "sh").symlink_to(shutil.which("sh"))
    ran = subprocess.run(
        [tmp_path / "make", "-C", ROOT, "SHELL=" + str(tmp_path / "sh"), "BIN=" + str(tmp_path), "image"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "No container builder found" in ran.stderr


def can_unshare():
    if os.geteuid() or not all(map(shutil.which, ("unshare", "setpriv", "ip"))):
        return False
    return subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not can_unshare(), reason="needs root, and namespaces")
def test_entry_point_needs_no_network_home_or_writable_files(model, sample, tmp_path):
    (tmp_path / "client.py").write_text(CLIENT)
    base = Path(sys.base_prefix)
    script = SANDBOX.format(
        model=model,
        base=base,
        top=Path("/", base.parts[1], base.parts[2]) if base.parts[1] == "usr" else Path("/", base.parts[1]),
        selfie=sample / "selfies" / "0006.jpg",
        client=tmp_path / "client.py",
        path=f"{Path(sys.executable).parent}:/usr/bin:/bin",
        source=ROOT / "src",
        environment=shlex.join(f"{name}={value}" for name, value in ENVIRONMENT.items()),
    )
    command = ["unshare", "--mount", "--net", "bash", "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = [line for line in ran.stdout.splitlines() if not line.startswith("{")]
    assert lines == ["painted 200 True", "counted True", "ended 0 0"]
    events = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert events[0]["event"] == "start"
    assert {event["endpoint"] for event in events[1:]} == {"/healthz", "/avatar"}


@pytest.fixture
def proxy(tmp_path):
    """Start nginx with the configuration of compose.yaml in front of a port; return its own port."""
    nginx = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
    if not nginx:
        pytest.skip("no nginx on this machine")
    processes = []

    def start(port):
        with socket.create_server(("127.0.0.1", 0)) as free:
            own = free.getsockname()[1]
        text = NGINX_CONF
        for old, new in {
            "worker_processes auto;": "worker_processes 1; user root;",
            "server server:8000;": f"server 127.0.0.1:{port};",
            "listen 8080;": f"listen 127.0.0.1:{own};",
            "/tmp/": f"{tmp_path}/",
        }.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "nginx.conf").write_text(text)
        command = [nginx, "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"]
        processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))

        def is_up():
            with socket.socket() as connection:
                return connection.connect_ex(("127.0.0.1", own)) == 0

        wait_until(is_up)
        return own

    yield start
    for process in processes:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_nginx_configuration_serves_the_page_and_hides_the_rest(model, sample, proxy):
    body, content_type = form(selfie=(sample / "selfies" / "0006.jpg").read_bytes())
    with serving(Portraitist(model, threads=1), proxies="127.0.0.1", per_minute=2) as port:
        public = proxy(port)
        assert request(public, "GET", "/", Host="127.0.0.1")[0] == 200
        assert request(public, "GET", "/healthz", Host="127.0.0.1")[0] == 200
        for hidden in ("/metrics", "/readyz"):
            assert request(public, "GET", hidden, Host="127.0.0.1")[0] == 404
        forged = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(3)]
        statuses = [request(public, "POST", "/avatar", body, content_type, **headers)[0] for headers in forged]
        # nginx sends the real address, so forged headers do not evade the rate limit
        assert statuses == [200, 200, 429]
