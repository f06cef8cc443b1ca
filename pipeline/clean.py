"""Stage clean: decode and check the pictures of all sources, rotate them upright, and drop near-duplicates."""

from pathlib import Path

from pipeline.stage import check_sources_or_exit, load_or_exit, path_options
from portraitist.clean.params import CleanParams
from portraitist.clean.run import clean_sources
from portraitist.collect.blocklist import Blocklist
from portraitist.core import manifest
from portraitist.core.workers import WorkersParams
from portraitist.reporting.stage_report import write_collect_metrics, write_stage_metrics


def main(
    params: CleanParams,
    workers: WorkersParams,
    sources: list[Path],
    blocklist: Path,
    out: Path,
    metrics: Path,
    collect_metrics: Path,
) -> None:
    """Clean the pictures of all sources. Write how many pictures stages `collect` and `clean` kept and rejected."""
    write_collect_metrics(sources, collect_metrics)
    frame = clean_sources(params, workers, sources, Blocklist.read(blocklist), out)
    write_stage_metrics(frame, "clean", metrics)


if __name__ == "__main__":
    sources, raw, *paths = path_options("sources", "raw", "blocklist", "out", "metrics", "collect-metrics")
    params, workers = load_or_exit(CleanParams, "clean"), load_or_exit(WorkersParams, "workers")
    check_sources_or_exit(sources, raw)
    main(params, workers, manifest.source_folders(raw, sources), *paths)
