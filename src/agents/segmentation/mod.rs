//! Segmentation: puts every customer who may be contacted into one segment, and can say why.
//!
//! Three steps, each a function of a shard so that shards can be worked on anywhere: *profile* (what a fit needs to
//! know of a shard, mergeable in any order), *fit* (from the merged profiles to a [`Model`]) and *label*.

mod keywords;
mod rules;
