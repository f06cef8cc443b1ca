"""Commands that serve the page: `portraitist serve` and `portraitist site`."""

from pathlib import Path
from typing import Annotated

import typer

from portraitist.cli.console import INVALID, DeviceOption, ModelOption, describe, fail, model_path, quiet_native_stderr
from portraitist.core.cores import available_cores


def serve(
    model: ModelOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 admits other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 8000,
    device: DeviceOption = "cpu",
    megabytes: Annotated[float, typer.Option(min=0.1, max=64, help="Maximum size of a picture.")] = 20.0,
    memory_mb: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum memory, with all child processes. [default: 1536, and 512 for each core]"),
    ] = None,
    waiting: Annotated[int, typer.Option(min=0, max=1000, help="Maximum number of waiting requests.")] = 20,
    per_minute: Annotated[int, typer.Option(min=1, max=100_000, help="Pictures per minute from one address.")] = 30,
    forwarded_allow_ips: Annotated[
        str,
        typer.Option(
            metavar="ADDRESSES",
            envvar="FORWARDED_ALLOW_IPS",
            help="Reverse proxies whose X-Forwarded-For header is trusted: addresses or networks, comma-separated.",
        ),
    ] = "127.0.0.1,::1",
) -> None:
    """Serve the web page that paints avatars. Pictures are never stored.

    Example: portraitist serve --host 0.0.0.0 --forwarded-allow-ips 10.0.0.0/8
    """
    import socket

    import uvicorn

    from portraitist.app import server
    from portraitist.app.avatar import ModelError, Portraitist

    is_local = host in ("127.0.0.1", "localhost", "::1")
    with quiet_native_stderr():
        try:
            portraitist = Portraitist(model_path(model), device, threads=1)
            portraitist.check()
        except (ModelError, OSError) as error:
            fail(describe(error), INVALID)
        limits = server.Limits(megabytes, memory_mb, waiting, per_minute)
        hosts = ["127.0.0.1", "localhost", "[::1]"] if is_local else ["*"]
        try:
            asgi = server.create_app(portraitist, available_cores(), limits, hosts)
            listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except ValueError as error:
            fail(f"--memory-mb: {error}", INVALID)
        except OSError as error:
            fail(describe(error), INVALID)
        address = f"[{host}]" if ":" in host else host
        print(f"http://{address}:{listener.getsockname()[1]}/ (Ctrl-C stops)", flush=True)
        config = uvicorn.Config(asgi, **server.uvicorn_options(forwarded_allow_ips))
        uvicorn.Server(config).run(sockets=[listener])


def site(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")],
    model: ModelOption = None,
    runtime: Annotated[
        Path | None, typer.Option(help="The .tgz of onnxruntime-web. [default: downloaded with npm]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing site.")] = False,
) -> None:
    """Build a page that paints on the visitor's device. Any web server can serve the folder.

    Example: portraitist site -o page
    """
    if out.exists() and not force:
        fail(f"{out} exists; --force overwrites it", INVALID)
    from portraitist.app import site_builder
    from portraitist.app.model_file import ModelError

    try:
        megabytes = site_builder.build_site(model_path(model), out, runtime)
    except (site_builder.SiteBuildError, ModelError, OSError) as error:
        fail(describe(error), INVALID)
    command = f"python -m http.server --bind 127.0.0.1 -d {out}"
    print(f"{out}/index.html with {megabytes:.1f} MB of models; try it with: {command}")
