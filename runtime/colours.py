"""A colour for every word: the same in every list, on every frame and on every machine."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_TABLE = """
3cff00 8418ff ffa86c 00a8fc c0243c 6c6c00 ff90cc 00fcf0 ffd800 3c60b4 00a878 ff0090 ff8478 fc3000 c0d878 9c5418
9c84f0 9c4890 6cfcb4 f054fc cc9c30 00780c 60a800 14828c b4c8ff fadcaa 82dcfa ffd2ff 788c5a aa646e 286e50 64beb4
786ea0 967846 e66e00 4682aa aaaa00 0ac85a b41400 8cc896 ffb4be c800d2 be785a 6e96ff b482be 6e46aa fa5a78 d2f000
b4aa6e 00b4d2 b41e64 8c4632 825a00 0046ff ffa000 e696ff 6e64ff c8503c 469646 aa5af0 ff7846 c8a078 6e82b4 00a096
ffbeaa 466428 8ce678 beaaf0 28dcb4 f05abe fabe6e 006eff ff003c 645a28 00648c dcc864 8cdc00 a0f0dc be781e c84600
8cc8ff c8648c 46dce6 5a821e c8e6b4 ff8ca0 9628aa 785078 d28caa 82aa5a 8c8c3c a08200 5a9678 be64c8 008246 3296b4
963c46 e6e6aa 008cfa fabe28 96a0e6 d28c8c e62864 00ff78 d228a0 a0be32 ff5a50 fac8a0 46c800 6e64be 825a32 28c8ff
006e64 aa0082 505a8c dc0014 f0e65a fa64a0 a0b482 f01ed2 ffb4dc f09678 46c88c c8505a f0b4fa 8c64b4 146eb4 148c6e
8c4664 0aaa28 aafa5a d28246 c86432 5aaad2 ff78f0 507850 c86e64 78960a a0648c d2b41e aaf0aa d2b478 7850dc 64508c
d29650 288c00 aa7850 dc28ff 6efad2 fa5a00 ff8c3c 46bea0 a03c0a c8d21e 7882e6 a096c8 826e28 be4682 787846 286e32
5050c8 b4a03c be78f0 aa32f0 6ebe6e 64aaff 14aa5a ffd26e e68200 00d2c8 00e68c b43c5a 8cc850 c864aa 328c82 aab464
b4f0c8 3caab4 00e63c d2c8ff faa096 dc8cd2 dc6e50 8cf0f0 8228c8 5ac8dc aad28c be5a00 9682c8 82dcb4 d28c00 d2f06e
aa2828 b48c46 aa780a a08c46 64aa78 965a3c 4682ff bebe46 966eff d26e78 78468c b40046 3296d2 007896 96a032 d2aadc
78dc96 6edcc8 d29678 5a32e6 468c5a a06e32 9646be 5078aa be14aa 00dcff aa5046 ff5a32 f0dc96 5a641e 285ae6 96b4ff
bef08c ff325a fa2828 9678aa 64b446 be46b4 d20078 dcdc82 be96f0 00bec8 50823c faa046 82ff6e 5a9614 6e5a00 ff96f0
6496c8 5a6ee6 e66464 aad200 dc323c 5abeff 828200 aa5032 dc501e f08c5a dcc80a ffb43c be46dc 008c32 3c6e00 e6be8c
"""
"""RGB. The first 23 are vivid (lightness 42 to 90, chroma from 50 on), and were exchanged until their smallest distance
grew no more; each that follows (lightness 38 to 91, chroma from 28 on) lies farthest from all before it. A distance is
the least CIEDE2000 of the colours themselves, and 1.5 times that of mixtures with dark, middle and bright grey."""

TIERS = (23, 233)
"""How the table is divided; primes, so that a walk with any step visits every place."""

SALT = 145
"""Chosen so that fourteen common words, from car and person to table and chair, come without a collision; a car is
blue, a road yellow, grass green."""

GREY = 128


def colours_of(words: Sequence[str], *, background: bool = False) -> npt.NDArray[np.uint8]:
    """Give every word a BGR colour of its own, up to 256; those beyond share.

    A word's hash names its place in the table, so that neither its position nor the other words matter. Where two words
    of a list have the same place, the first in the alphabet keeps it, and the other takes the next that its own hash
    names. The first 23 words in the alphabet have colours far apart; longer lists need the rest of the table.

    Args:
        words: of the classes; upper and lower case are the same word.
        background: put the grey of the background before them, for what shows it.

    Returns:
        (N,3), or with a background (N+1,3).
    """
    table = np.array([tuple(bytes.fromhex(colour)[::-1]) for colour in _TABLE.split()], np.uint8)
    colours = np.full((len(words) + background, 3), GREY, np.uint8)
    taken: set[int] = set()
    keys = [word.casefold() for word in words]
    for index in sorted(range(len(words)), key=lambda index: (keys[index], words[index])):
        colours[index + background] = table[_place(keys[index], taken)]
    return colours


def _place(word: str, taken: set[int]) -> int:
    """Take the first free place of a word's walk through the table, tier by tier; its own if all are taken."""
    data = f"{SALT} {word}".encode(errors="surrogatepass")
    number = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
    first = 0
    for size in TIERS:
        start, step = number % size, 1 + number // size % (size - 1)
        walk = [first + (start + turn * step) % size for turn in range(size)]
        if len(taken) < first + size:
            place = next(place for place in walk if place not in taken)
            taken.add(place)
            return place
        first += size
    return walk[0]
