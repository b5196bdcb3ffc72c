"""The error that plugins raise."""


class ExecutionError(Exception):
    """A call that failed. Its text is what the agent is told."""
