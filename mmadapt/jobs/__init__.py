"""Jobs of nyuntam_adapt, a YAML file each, converted to configs."""

from .convert import Converted, convert_job
from .job import Job, Line, read_job

__all__ = ['Converted', 'Job', 'Line', 'convert_job', 'read_job']
