"""Running an embedder: contents are checked and read, batches made, bad items set apart, vectors verified."""

from vecdb.embedding.content import check_text, modality_of, read_content
from vecdb.embedding.host import Embedded, EmbedderHost
from vecdb.embedding.probe import probes_agree

__all__ = ["Embedded", "EmbedderHost", "check_text", "modality_of", "probes_agree", "read_content"]
