"""What became of the keys of a job."""

from mmadapt.jobs import Job


def said_of(job: Job, key: str) -> list[tuple[str, str]]:
    """Return level and text of what became of a key."""
    return [(line.level, line.said) for line in job.lines if line.key == key]
