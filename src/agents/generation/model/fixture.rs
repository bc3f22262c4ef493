//! The starter campaign, for the tests.

use std::path::Path;

use crate::{
    agents::{
        generation::{Brief, Source},
        retrieval::library::Library,
    },
    config::Campaign,
    domain::{
        channel::Channel,
        id::{ArmName, Locale, SegmentName},
        segment::Segment,
        variant::Cell,
    },
};

pub struct World {
    pub campaign: Campaign,
    pub content: Library,
    pub segment: Segment,
    pub cell: Cell,
}

impl World {
    pub fn new(channel: Channel) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
        let name = SegmentName::new("Regulars").unwrap();
        Self {
            campaign: Campaign::read(&folder.join("campaign.toml")).unwrap(),
            content: Library::load(&folder.join("content")).unwrap(),
            segment: Segment { name: name.clone(), description: "order often".to_owned(), keywords: Vec::new() },
            cell: Cell {
                segment: Some(name),
                arm: ArmName::new("friendly").unwrap(),
                channel,
                locale: Locale::new("en").unwrap(),
            },
        }
    }

    /// Every passage there is.
    pub fn sources(&self) -> Vec<Source<'_>> {
        let documents = self.content.documents().iter();
        documents
            .flat_map(|document| document.passages.iter().map(move |passage| Source { document, passage }))
            .collect()
    }

    pub fn brief<'a>(&'a self, sources: &'a [Source<'a>]) -> Brief<'a> {
        Brief {
            cell: &self.cell,
            segment: Some(&self.segment),
            customer: None,
            tone: "friendly",
            campaign_name: &self.campaign.campaign.name,
            date: jiff::civil::date(2026, 11, 22),
            sources,
            brand: &self.campaign.generation.brand,
            slots: &self.campaign.generation.slots,
            candidate: 0,
            seed: 1,
            review: &|_| Vec::new(),
        }
    }

    /// The first passage of the document whose id begins so.
    pub fn passage(&self, document: &str) -> (String, String) {
        let found = self.content.documents().iter().find(|known| known.id.as_str().starts_with(document)).unwrap();
        (found.passages[0].id.to_string(), found.passages[0].text.clone())
    }
}
