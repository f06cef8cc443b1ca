"""Commands for the web page: `portraitist serve` runs a server, `portraitist site` builds static files."""

from pathlib import Path
from typing import Annotated

import typer

from portraitist.cli.console import INVALID, Device, ModelOption, describe, fail, model_path
from portraitist.core.cores import available_cores


def serve(
    model: Annotated[
        str | None,
        typer.Option(
            envvar="PORTRAITIST_MODEL",
            metavar="MODEL",
            help="A folder with portraitist.onnx, an .onnx file, or hf://USER/NAME[@REVISION] on the Hugging Face hub.",
            show_default="the model that is installed with portraitist",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(envvar="PORTRAITIST_HOST", help="Address to listen on; 0.0.0.0 admits other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="PORTRAITIST_PORT", min=0, max=65535, help="Port of the page; 0 chooses a free one.")
    ] = 8000,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            envvar="PORTRAITIST_METRICS_PORT", min=1, max=65535, help="Port of the Prometheus metrics. [default: none]"
        ),
    ] = None,
    device: Annotated[
        Device,
        typer.Option(envvar="PORTRAITIST_DEVICE", help="cuda needs the package onnxruntime-gpu, coreml needs macOS."),
    ] = "cpu",
    workers: Annotated[
        int, typer.Option(envvar="PORTRAITIST_WORKERS", min=1, max=64, help="Number of worker processes.")
    ] = 1,
    megabytes: Annotated[
        float, typer.Option(envvar="PORTRAITIST_MEGABYTES", min=0.1, max=64, help="Maximum size of a picture, in MB.")
    ] = 20.0,
    memory_mb: Annotated[
        int | None,
        typer.Option(
            envvar="PORTRAITIST_MEMORY_MB",
            min=1,
            help="Maximum memory of all processes, in MiB. [default: 1536 for each worker, plus 512 for each core]",
        ),
    ] = None,
    waiting: Annotated[
        int, typer.Option(envvar="PORTRAITIST_WAITING", min=0, max=1000, help="Maximum number of waiting requests.")
    ] = 20,
    per_minute: Annotated[
        int,
        typer.Option(
            envvar="PORTRAITIST_PER_MINUTE",
            min=1,
            max=100_000,
            help="Maximum number of pictures per minute from one address.",
        ),
    ] = 30,
    shutdown_s: Annotated[
        float,
        typer.Option(
            envvar="PORTRAITIST_SHUTDOWN_S", min=0, max=600, help="Seconds to finish accepted requests after SIGTERM."
        ),
    ] = 20.0,
    forwarded_allow_ips: Annotated[
        str,
        typer.Option(
            metavar="ADDRESSES",
            envvar="PORTRAITIST_FORWARDED_ALLOW_IPS",
            help="Reverse proxies whose X-Forwarded-For header is trusted: addresses or networks, comma-separated.",
        ),
    ] = "127.0.0.1,::1",
    access_log: Annotated[
        bool,
        typer.Option(
            "--access-log/--no-access-log",
            envvar="PORTRAITIST_ACCESS_LOG",
            help="Write each request as a line of JSON to stdout, without client addresses and file names.",
        ),
    ] = False,
) -> None:
    """Serve the web page on which visitors paint avatars. Their pictures are never stored.

    Example: portraitist serve --host 0.0.0.0 --forwarded-allow-ips 10.0.0.0/8
    """
    from portraitist.app import server_processes
    from portraitist.app.model_file import ModelError
    from portraitist.app.server import Limits

    try:
        limits = Limits(megabytes, memory_mb, waiting, per_minute, shutdown_s=shutdown_s)
        settings = server_processes.Settings(
            model_path(model),
            device,
            host,
            port,
            metrics_port,
            workers,
            available_cores(),
            limits,
            forwarded_allow_ips,
            access_log,
        )
        server_processes.run(settings)
    except (server_processes.StartError, ModelError, OSError) as error:
        fail(describe(error), INVALID)


def site(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")],
    model: ModelOption = None,
    runtime: Annotated[
        Path | None, typer.Option(help="The .tgz of onnxruntime-web. [default: downloaded with npm]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing site.")] = False,
) -> None:
    """Build a static web page that paints on the visitor's own device; any web server can serve it.

    Needs npm and the extra `pipeline`.

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
