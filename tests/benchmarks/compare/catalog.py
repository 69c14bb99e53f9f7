"""The peers: what is installed for each, and what a reader must know of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PeerEntry:
    """A peer: `requirements` are what pip installs; none means this interpreter, where vecdb is."""

    name: str
    module: str
    adapter: str
    requirements: tuple[str, ...] = ()
    environment: str = ""
    note: str = ""


REFERENCE, OURS = "hnswlib", "vecdb"

PEERS = (
    PeerEntry(REFERENCE, "hnswlib_peer", "HnswlibPeer", note="the bare library: ids only, no records, no filter"),
    PeerEntry(OURS, "vecdb_peer", "VecdbPeer"),
    PeerEntry("chroma", "chroma_peer", "ChromaPeer", ("chromadb==1.5.9",), "chroma"),
    PeerEntry(
        "lancedb", "lancedb_peer", "LancedbPeer", ("lancedb==0.40.0", "numpy"), "lancedb",
        note="IVF_HNSW_SQ, one partition, refine factor 2",
    ),
    PeerEntry("zvec", "zvec_peer", "ZvecPeer", ("zvec==0.8.0", "numpy"), "zvec"),
    PeerEntry(
        "zvec-int8", "zvec_peer", "ZvecCodesPeer", ("zvec==0.8.0", "numpy"), "zvec", note="int8 codes with refinement"
    ),
    PeerEntry("milvus-lite", "milvus_peer", "MilvusPeer", ("pymilvus==3.0.2", "milvus-lite==3.2.2"), "milvus-lite"),
    PeerEntry("qdrant-edge", "qdrant_peer", "QdrantPeer", ("qdrant-edge-py==0.9.0", "numpy"), "qdrant-edge"),
    PeerEntry(
        "sqlite-vec", "sqlite_vec_peer", "SqliteVecPeer",
        ("sqlite-vec==0.1.9", "pysqlite3-binary==0.5.4.post2; platform_system == 'Linux'", "numpy"), "sqlite-vec",
        note="always exact",
    ),
    PeerEntry(
        "txtai", "txtai_peer", "TxtaiPeer", ("txtai==9.14.0", "hnswlib==0.8.0"), "txtai",
        note="backend hnsw; durable with save only",
    ),
)
NAMES = tuple(peer.name for peer in PEERS)
