"""What is read back out of rows that somebody else may have written: metadata, contents, probes."""

from __future__ import annotations

from pathlib import Path

import vecdb
from tests.torture.fuzzing.target import BrokenPromise, Target
from vecdb.embedding.probe import probe_from_bytes, probes_agree
from vecdb.errors import VecdbError
from vecdb.storage.contents import decode_content, decode_metadata, encode_content, encode_metadata


def _run(data: bytes, folder: Path) -> None:
    """The first byte says what the rest is."""
    kind, rest = (data[0] if data else 0), data[1:]
    text = rest.decode("utf-8", "replace")
    try:
        if kind % 3 == 0:
            metadata = decode_metadata(text)
            if not isinstance(metadata, dict):
                raise BrokenPromise(f"metadata is {metadata!r:.100}")
            encode_metadata(metadata)
        elif kind % 3 == 1:
            _content(text, kind)
        else:
            probe = probe_from_bytes(rest)
            probes_agree(probe, probe)
    except VecdbError:
        return


def _content(text: str, kind: int) -> None:
    content = decode_content(kind // 3 % 4, text, lambda digest: b"bytes of " + digest)
    scalars = list(content.values()) if isinstance(content, dict) else [content]
    for one in scalars:
        if one is not None and not isinstance(one, str | Path | vecdb.Image | vecdb.Audio):
            raise BrokenPromise(f"content is {one!r:.100}")


def _seeds(folder: Path) -> list[bytes]:
    contents = [
        "a text",
        vecdb.Image(b"bytes"),
        vecdb.Audio(b"bytes"),
        {"title": "x", "cover": vecdb.Image(b"y")},
        Path(__file__),
    ]
    encoded = [encode_content(content) for content in contents]
    probe = b"".join(size.to_bytes(4, "little") + bytes(size) for size in (8, 0, 12))
    deep = ("[" * 20_000, '{"a":' * 20_000, '{"fields": {"a": ' * 3000)
    return [
        *(
            b"\0" + text.encode()
            for text in ('{"year":2020,"tags":["a",1.5,null]}', "{}", "[]", "1", '{"a":NaN}', *deep)
        ),
        *(bytes([1 + 3 * one.kind]) + (one.text or "").encode() for one in encoded),
        *(
            b"\7" + text.encode()
            for text in ('{"image": "zz"}', '{"file": 1}', '{"fields": []}', "[]", '{"audio": null}', *deep)
        ),
        b"\2" + probe,
    ]


TARGETS = [Target("stored", _seeds, _run, words=[b'"fields"', b'"image"', b'"audio"', b'"file"', b'"text"'])]
