"""The storage engine: SQLite through SQLAlchemy Core. Rows are the truth.

engine        connections, snapshots and transactions, error mapping
lock          one writer at a time, across processes
tables        the tables; schema: which version a file has, creation and upgrade
contents      how contents and metadata become columns
records       reading records; writing: the write transaction; spaces: collections and spaces
vector_rows   reading vectors and what an index must forget; filters: `where` to SQL
manifest      index files: what was published; consistency: `check`; copy: `backup`
"""
