//! Ingest: from a customer file to shards of customers who may be contacted.
