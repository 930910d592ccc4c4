"""The exit codes that the runtime writes: the numbers of domain/exit_codes.py, which a node does not have."""

OK = 0
EXECUTABLE_NOT_FOUND = 50110
NOT_EXECUTABLE = 50111
NEVER_UPDATED = 50117
MEMORY = 50660
DISK = 50662
WALL_TIME = 50664
CHECKSUM_FAILED = 50998
STAGE_OUT = 60311
SANDBOX_MISSING = 60996
SPEC_INVALID = 60998
NODE_DISK_FULL = 60999
INPUT_UNREADABLE = 90001
OUTPUT_MISSING = 90002
COUNT_MISSING = 90003
EVENTS_DIFFER = 90005
CANCELLED = 90009
RUNTIME_FAILED = 90010
HOOK_UNUSABLE = 90011
CONTROL_POINT = 90012
STORAGE_FULL = 90013
SIGNALLED = 128  # plus the number of the signal


def exit_status(code: int) -> int:
    """Return what the runtime itself exits with: `code` where a process can say it, else 1."""
    return code if 0 <= code <= 255 else 1
