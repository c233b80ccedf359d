"""What ``check`` tries of a source before anything runs: to list, to read, and to keep rejects.

Owns: that all of it is tried, whatever fails first.
"""

from __future__ import annotations

from tallystick.clock import SystemClock
from tallystick.errors import TryLater
from tallystick.objects.buckets import Bucket
from tallystick.objects.errors import ObjectError, SourceRefused
from tallystick.objects.info import Finding
from tallystick.objects.job import Job


def check(job: Job) -> list[Finding]:
    """What came of it, one by one. Buckets are asked by real time, whatever the test clock says.

    Raises what opening the source's own bucket raises: a URL or access that cannot be meant.
    """
    findings = Bucket.open(job.url, SystemClock(), job.access).check()
    return findings if job.rejects_url is None else [*findings, _rejects(job, job.rejects_url)]


def _rejects(job: Job, url: str) -> Finding:
    try:
        return Bucket.open(url, SystemClock(), job.access).check_write()
    except (SourceRefused, ObjectError, TryLater) as error:
        return Finding("write", False, error.message)
