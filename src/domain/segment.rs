//! Segments and why a customer is in one.

use serde::{Deserialize, Serialize};

use crate::domain::id::SegmentName;

/// One segment of a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    pub name: SegmentName,
    /// What puts a customer here, in words.
    pub description: String,
    /// Words for the retrieval query: the name's and the traits'.
    pub keywords: Vec<String>,
}

/// What the customers of a segment are like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentProfile {
    pub name: SegmentName,
    pub customers: u64,
    /// Per numeric attribute, the segment's mean beside everybody's.
    pub traits: Vec<Trait>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trait {
    pub attribute: String,
    pub mean: f64,
    pub overall_mean: f64,
}

/// The labels of one shard's customers, in the shard's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// Index into the model's segments.
    pub segments: Vec<u16>,
    /// Index into `reasons`: reasons repeat, so each text is kept once.
    pub reason_of: Vec<u32>,
    pub reasons: Vec<String>,
}
