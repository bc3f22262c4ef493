//! Generation: writes message variants in which every claim cites a passage.

pub mod composer;
pub mod fields;
mod layout;
pub mod messages;
pub mod model;
pub mod phrases;
mod sentences;

use async_trait::async_trait;
use jiff::civil::Date;

use self::fields::Fields;
use crate::{
    config::campaign::Brand,
    domain::{
        content::{Document, Passage},
        money::Usd,
        segment::Segment,
        variant::{Cell, Draft, Slots},
        verdict::Finding,
    },
    providers::{Forecast, Meter, ProviderError},
};

/// Everything a writer may draw on for one variant of one cell.
#[derive(Clone)]
pub struct Brief<'a> {
    pub cell: &'a Cell,
    /// `None`: the control message, for everybody.
    pub segment: Option<&'a Segment>,
    /// `None`: the message is for all customers of the cell.
    pub customer: Option<&'a Fields>,
    pub tone: &'a str,
    pub campaign_name: &'a str,
    pub date: Date,
    /// What retrieval gave, best first. Nothing else may be asserted.
    pub sources: &'a [Source<'a>],
    pub brand: &'a Brand,
    pub slots: &'a Slots,
    /// From 0: each candidate of a cell should differ from the others.
    pub candidate: usize,
    pub seed: u64,
    /// What the gate's text checks say of a draft. Whoever writes may ask before it hands one in; the gate checks it
    /// again.
    pub review: &'a (dyn Fn(&Draft) -> Vec<Finding> + Sync),
}

#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub document: &'a Document,
    pub passage: &'a Passage,
}

/// Writes messages. What it returns is a proposal: the safety agent checks message and claims against the sources.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Name and version, recorded with every variant.
    fn name(&self) -> &str;

    /// What one call may cost at most: so much of the budget is set aside for it.
    fn most(&self) -> Usd {
        Usd::ZERO
    }

    /// What one call costs as a rule, for estimates.
    fn forecast(&self) -> Forecast {
        Forecast::default()
    }

    /// What it costs is reserved and settled with the meter.
    async fn write(&self, brief: &Brief<'_>, meter: &Meter) -> Result<Draft, ProviderError>;
}
