"""Running an embedder: contents are checked and read, batches made, bad items set apart, vectors verified."""

from vecdb.embedding.content import check_text, modality_of, read_content
from vecdb.embedding.host import Embedded, EmbedderHost
from vecdb.embedding.probe import probe_from_bytes, probe_to_bytes, probes_agree

__all__ = [
    "Embedded",
    "EmbedderHost",
    "check_text",
    "modality_of",
    "probe_from_bytes",
    "probe_to_bytes",
    "probes_agree",
    "read_content",
]
