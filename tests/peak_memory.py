"""Peak memory of a process that a test starts.

`resource.getrusage` is no use there: Linux hands the peak of the parent, a worker of pytest with all it has imported,
on to a child that is forked from it.
"""

SOURCE = '''
def peak_bytes():
    """The most memory that this process has had resident since it began to run its program."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
'''
