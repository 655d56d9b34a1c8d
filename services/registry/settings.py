"""What a deployment may set of the registry."""

import msgspec


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Plain values; only the command line reads the environment.

    Attributes:
        seed_history: fill an empty registry from the history that the package carries.
        recheck_s: how old, in seconds, this process's list of versions may be when it answers; a version that
            another process published is served after at most this long.
        announce_every_s: seconds between two looks for versions whose event could not be appended.
        max_publish_bytes: the largest publish request.
        cached_versions: how many snapshots are kept in memory.
        cached_answers: how many answers (version and filters) are kept in memory, compressed too.
    """

    seed_history: bool = True
    recheck_s: float = 0.25
    announce_every_s: float = 5.0
    max_publish_bytes: int = 8 * 1024 * 1024
    cached_versions: int = 16
    cached_answers: int = 64
