//! The delivery stage: for each customer of a shard the arm, the approved variant and the slots' values.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use arrow_array::{Array as _, StringArray, cast::AsArray as _};
use arrow_schema::ArrowError;

use crate::{
    agents::{
        experimentation::{
            assign::Assigner,
            deliveries::{Builder, Row, Tally},
        },
        safety::{Lexicon, SlotScreen},
    },
    config::Campaign,
    domain::{
        attribute::{CHANNEL, LOCALE},
        channel::Channel,
        customer::{Column, Shard},
        experiment::{CONTROL, DeliveryStatus, HOLDOUT},
        id::{ArmName, Locale, SegmentName, VariantId},
        segment::Segment,
        variant::{Cell, Slots, Variant},
        verdict::{Decision, Rule},
    },
};

const NO_CHANNEL: &str = "no permitted channel";
/// Of a message whose source was recalled.
const RECALLED: &str = "recalled";

/// What a cell's customers get: decided once per cell, before any customer is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Send { variant: VariantId, slots: Vec<String>, fallback: Option<String> },
    Hold { reason: String },
}

/// What whoever asks for a message wants of it; by default all is as the customer is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// This one or none.
    pub channel: Option<Channel>,
    /// In the place of the customer's.
    pub locale: Option<Locale>,
}

/// What becomes of one customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<'a> {
    pub segment: &'a SegmentName,
    /// See [`Delivering::arm`].
    arm: u16,
    pub status: DeliveryStatus,
    pub channel: Option<Channel>,
    pub locale: Option<&'a Locale>,
    pub variant: Option<&'a VariantId>,
    /// A JSON object: slot name to the text in the message.
    pub slots: Option<&'a str>,
    pub reason: Option<Cow<'a, str>>,
}

/// What was written for single customers of a shard.
#[derive(Debug, Default)]
pub struct Personal {
    /// By customer, approved or not.
    pub messages: HashMap<String, Variant>,
    /// Why whoever else is in an arm has none; `None`: nobody has.
    pub lack: Option<&'static str>,
}

/// See [`Delivering::customers`].
#[derive(Debug)]
pub struct Customers<'a> {
    ids: &'a StringArray,
    /// By the campaign's channels.
    consents: Vec<Option<Column<'a>>>,
    channels: Option<&'a StringArray>,
    locales: Option<&'a StringArray>,
    personal: &'a Personal,
    filled: FilledSlots<'a>,
}

/// Everything the delivery of a shard depends on, besides the shard.
#[derive(Debug)]
pub struct Delivering {
    /// The model's.
    segments: Vec<SegmentName>,
    assigner: Assigner,
    channels: Vec<Channel>,
    locales: Vec<Locale>,
    slots: Slots,
    screen: SlotScreen,
    /// By [`Delivering::cell`].
    choices: Vec<Choice>,
}

impl Delivering {
    pub fn new(campaign: &Campaign, segments: &[Segment], variants: &[Variant]) -> Self {
        let mut by_cell: HashMap<&Cell, Vec<&Variant>> = HashMap::new();
        for variant in variants {
            by_cell.entry(&variant.cell).or_default().push(variant);
        }
        let mut delivering = Self {
            segments: segments.iter().map(|segment| segment.name.clone()).collect(),
            assigner: Assigner::new(campaign),
            channels: campaign.campaign.channels.clone(),
            locales: campaign.campaign.locales.clone(),
            slots: campaign.generation.slots.clone(),
            screen: SlotScreen::new(&campaign.generation.brand, &campaign.safety, Lexicon::default()),
            choices: Vec::new(),
        };
        let mut choices = Vec::new();
        for segment in &delivering.segments {
            for arm in delivering.assigner.arms() {
                for channel in &delivering.channels {
                    for locale in &delivering.locales {
                        let is_control = arm.name.as_str() == CONTROL;
                        let cell = Cell {
                            segment: (!is_control).then(|| segment.clone()),
                            arm: arm.name.clone(),
                            channel: *channel,
                            locale: locale.clone(),
                        };
                        choices.push(delivering.choose(&cell, &by_cell));
                    }
                }
            }
        }
        delivering.choices = choices;
        delivering
    }

    /// The customers of a shard who get a message of an arm, by row, and the cell that it is from.
    pub fn reached(&self, shard: &Shard, segments: &[u16]) -> Vec<(usize, Cell)> {
        let nothing = Personal::default();
        let mut customers = self.customers(shard, &nothing);
        let cell = |(row, segment): (usize, &u16)| {
            let delivery = self.decide(&mut customers, row, *segment, &Wish::default());
            let arm = self.arm(&delivery);
            let is_reached = delivery.status == DeliveryStatus::Assigned && arm.as_str() != CONTROL;
            let (channel, locale) = (delivery.channel?, delivery.locale?.clone());
            let cell = || Cell { segment: Some(delivery.segment.clone()), arm: arm.clone(), channel, locale };
            is_reached.then(|| (row, cell()))
        };
        segments.iter().enumerate().filter_map(cell).collect()
    }

    /// Assigns and fills one shard; `segments` are its customers' segments, as indices. Whoever has no approved message of
    /// their own gets what their cell has.
    pub fn deliver(
        &self,
        shard: &Shard,
        segments: &[u16],
        personal: &Personal,
    ) -> Result<(arrow_array::RecordBatch, Tally), ArrowError> {
        let mut rows = Builder::default();
        let mut tally = Tally::default();
        let mut customers = self.customers(shard, personal);
        for ((row, customer), segment) in shard.customer_ids().iter().flatten().enumerate().zip(segments) {
            let delivery = self.decide(&mut customers, row, *segment, &Wish::default());
            tally.cells.entry((*segment, delivery.arm)).or_default().add(delivery.status);
            let reason = delivery.reason.as_deref();
            if delivery.status == DeliveryStatus::Held {
                let reason = reason.unwrap_or_default();
                match tally.held.get_mut(reason) {
                    Some(customers) => *customers += 1,
                    None => drop(tally.held.insert(reason.to_owned(), 1)),
                }
            }
            rows.push(Row {
                customer,
                segment: delivery.segment.as_str(),
                arm: self.arm(&delivery).as_str(),
                status: delivery.status.as_str(),
                channel: delivery.channel.map(Channel::as_str),
                locale: delivery.locale.map(Locale::as_str),
                variant: delivery.variant.map(VariantId::as_str),
                slots: delivery.slots,
                reason,
            });
        }
        Ok((rows.finish()?, tally))
    }

    /// What of a shard's customers decides on their messages.
    pub fn customers<'a>(&'a self, shard: &'a Shard, personal: &'a Personal) -> Customers<'a> {
        Customers {
            personal,
            ids: shard.customer_ids(),
            consents: self.channels.iter().map(|channel| shard.column(channel.consent_attribute())).collect(),
            channels: text(shard.column(CHANNEL)),
            locales: text(shard.column(LOCALE)),
            filled: FilledSlots::new(&self.slots, &self.screen, shard),
        }
    }

    /// What becomes of the customer in a row of the shard, who is in this segment of the model.
    pub fn decide<'a>(
        &'a self,
        customers: &'a mut Customers<'_>,
        row: usize,
        segment: u16,
        wish: &Wish,
    ) -> Delivery<'a> {
        let name = &self.segments[usize::from(segment)];
        let arm = self.assigner.assign(name, customers.ids.value(row));
        let nothing = Delivery {
            segment: name,
            // There are fewer arms than lines in a campaign file.
            arm: arm as u16,
            status: DeliveryStatus::Holdout,
            channel: None,
            locale: None,
            variant: None,
            slots: None,
            reason: None,
        };
        if self.arm(&nothing).as_str() == HOLDOUT {
            return nothing;
        }
        let Some(channel) = self.channel_for(row, customers, wish.channel) else {
            return Delivery { status: DeliveryStatus::Held, reason: Some(Cow::Borrowed(NO_CHANNEL)), ..nothing };
        };
        let known = customers.locales.filter(|column| column.is_valid(row)).map(|column| column.value(row));
        let locale = self.locale_for(wish.locale.as_ref().map(Locale::as_str).or(known));
        let delivery =
            Delivery { channel: Some(self.channels[channel]), locale: Some(&self.locales[locale]), ..nothing };
        let personal = customers.personal.messages.get(customers.ids.value(row));
        if let Some(variant) = personal.filter(|variant| variant.verdict.decision == Decision::Approved) {
            let values = customers.filled.values(row, &self.slots_of(variant));
            return Delivery {
                status: DeliveryStatus::Assigned,
                variant: Some(&variant.id),
                slots: values.json,
                reason: values.replaced.map(Cow::Borrowed),
                ..delivery
            };
        }
        let is_in_arm = self.arm(&delivery).as_str() != CONTROL;
        let lack = personal.map(not_approved).or(customers.personal.lack.filter(|_| is_in_arm));
        match &self.choices[self.cell(usize::from(segment), arm, channel, locale)] {
            Choice::Hold { reason } => {
                Delivery { status: DeliveryStatus::Held, reason: Some(Cow::Borrowed(reason)), ..delivery }
            }
            Choice::Send { variant, slots, fallback } => {
                let values = customers.filled.values(row, slots);
                // Where a cell has nothing nobody is written to either.
                let lacks = lack.filter(|_| fallback.is_none()).map(instead);
                Delivery {
                    status: if fallback.is_some() { DeliveryStatus::Fallback } else { DeliveryStatus::Assigned },
                    variant: Some(variant),
                    slots: values.json,
                    reason: match (fallback, lacks, values.replaced) {
                        (Some(reason), None, None) => Some(Cow::Borrowed(reason)),
                        (None, None, replaced) => replaced.map(Cow::Borrowed),
                        (fallback, lacks, replaced) => {
                            let reasons = [fallback.as_deref(), lacks.as_deref(), replaced];
                            Some(Cow::Owned(reasons.into_iter().flatten().collect::<Vec<_>>().join("; ")))
                        }
                    },
                    ..delivery
                }
            }
        }
    }

    /// `holdout`, `control` or an arm's name.
    pub fn arm(&self, delivery: &Delivery<'_>) -> &ArmName {
        &self.assigner.arms()[usize::from(delivery.arm)].name
    }

    /// The first approved candidate; else, unless one of them may still be approved by a person, the control
    /// message; else nothing.
    fn choose(&self, cell: &Cell, by_cell: &HashMap<&Cell, Vec<&Variant>>) -> Choice {
        let candidates = by_cell.get(cell).map(Vec::as_slice).unwrap_or_default();
        if let Some(variant) = candidates.iter().find(|variant| variant.verdict.decision == Decision::Approved) {
            return self.send(variant, None);
        }
        if let Some(waiting) = candidates.iter().find(|variant| variant.verdict.decision == Decision::NeedsReview) {
            return Choice::Hold { reason: format!("variant `{}` waits for approval", waiting.id) };
        }
        let is_recalled = |variant: &&Variant| variant.verdict.findings.iter().any(|f| f.rule == Rule::Recalled);
        let lack = if candidates.iter().any(is_recalled) { RECALLED } else { "no approved" };
        if cell.arm.as_str() == CONTROL {
            return Choice::Hold { reason: format!("{lack} control message") };
        }
        let control =
            Cell { segment: None, arm: ArmName::new(CONTROL).expect("`control` is an arm's name"), ..cell.clone() };
        match self.choose(&control, by_cell) {
            Choice::Send { variant, slots, .. } => {
                let reason = format!("{lack} variant in the assigned cell: the control message instead");
                Choice::Send { variant, slots, fallback: Some(reason) }
            }
            Choice::Hold { reason } => {
                Choice::Hold { reason: format!("{lack} variant in the assigned cell, and {reason}") }
            }
        }
    }

    fn send(&self, variant: &Variant, fallback: Option<String>) -> Choice {
        Choice::Send { variant: variant.id.clone(), slots: self.slots_of(variant), fallback }
    }

    fn slots_of(&self, variant: &Variant) -> Vec<String> {
        let used = variant.message.slots();
        self.slots.keys().filter(|name| used.contains(name.as_str())).cloned().collect()
    }

    fn cell(&self, segment: usize, arm: usize, channel: usize, locale: usize) -> usize {
        ((segment * self.assigner.arms().len() + arm) * self.channels.len() + channel) * self.locales.len() + locale
    }

    /// The preferred channel where the campaign has it and the customer permits it, else the campaign's first one
    /// that the customer permits; and never another one than `only`.
    fn channel_for(&self, row: usize, customers: &Customers<'_>, only: Option<Channel>) -> Option<usize> {
        let is_wanted = |channel: &usize| only.is_none_or(|only| self.channels[*channel] == only);
        let permits = |channel: &usize| match customers.consents[*channel] {
            None => is_wanted(channel),
            Some(Column::Boolean(consent)) => is_wanted(channel) && consent.is_valid(row) && consent.value(row),
            Some(_) => false,
        };
        let preferred = customers.channels.filter(|column| column.is_valid(row)).and_then(|column| {
            let name = column.value(row);
            self.channels.iter().position(|channel| channel.as_str().eq_ignore_ascii_case(name))
        });
        preferred.filter(permits).or_else(|| (0..self.channels.len()).find(permits))
    }

    /// The wanted locale, else the same language, else the campaign's first.
    fn locale_for(&self, wanted: Option<&str>) -> usize {
        let Some(wanted) = wanted else { return 0 };
        let language = wanted.split(['-', '_']).next().unwrap_or_default();
        let exact = self.locales.iter().position(|locale| locale.as_str().eq_ignore_ascii_case(wanted));
        exact
            .or_else(|| self.locales.iter().position(|locale| locale.language().eq_ignore_ascii_case(language)))
            .unwrap_or(0)
    }
}

fn not_approved(variant: &Variant) -> &'static str {
    variant.verdict.reason().map_or("not judged", Rule::in_words)
}

fn instead(why: &str) -> String {
    format!("the segment's message instead of a personal one: {why}")
}

fn text(column: Option<Column<'_>>) -> Option<&StringArray> {
    match column {
        Some(Column::Text(column)) => Some(column),
        _ => None,
    }
}

/// The slots' texts for the customers of a shard.
#[derive(Debug)]
struct FilledSlots<'a> {
    slots: &'a Slots,
    columns: BTreeMap<&'a str, Option<StringArray>>,
    screen: &'a SlotScreen,
    json: String,
    replaced: String,
}

struct Values<'a> {
    json: Option<&'a str>,
    /// Which values were not used, and why.
    replaced: Option<&'a str>,
}

impl<'a> FilledSlots<'a> {
    fn new(slots: &'a Slots, screen: &'a SlotScreen, shard: &Shard) -> Self {
        let columns = slots
            .iter()
            .map(|(name, slot)| {
                let column =
                    shard.rows.column_by_name(&slot.attribute).and_then(|column| column.as_string_opt::<i32>());
                (name.as_str(), column.cloned())
            })
            .collect();
        Self { slots, columns, screen, json: String::new(), replaced: String::new() }
    }

    fn values(&mut self, row: usize, wanted: &[String]) -> Values<'_> {
        self.json.clear();
        self.replaced.clear();
        let mut object = serde_json::Map::new();
        for name in wanted {
            let fallback = self.slots[name].fallback.as_str();
            let column = self.columns.get(name.as_str()).and_then(Option::as_ref);
            let value = column.filter(|column| column.is_valid(row)).map(|column| column.value(row).trim());
            let text = match value.filter(|value| !value.is_empty()) {
                None => fallback,
                Some(value) => match self.screen.screen_value(value) {
                    Ok(()) => value,
                    Err(why) => {
                        if !self.replaced.is_empty() {
                            self.replaced.push_str("; ");
                        }
                        self.replaced.push_str(&format!("{name} stands at its fallback: {why}"));
                        fallback
                    }
                },
            };
            object.insert(name.clone(), text.into());
        }
        if !object.is_empty() {
            self.json = serde_json::Value::Object(object).to_string();
        }
        Values {
            json: (!self.json.is_empty()).then_some(self.json.as_str()),
            replaced: (!self.replaced.is_empty()).then_some(self.replaced.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array};

    use super::*;
    use crate::{
        agents::experimentation::deliveries::Table,
        domain::{
            customer::{CUSTOMER_ID, SOURCE_LINE, ShardId},
            variant::{Message, Usage},
            verdict::Verdict,
        },
    };

    /// One segment, one arm, almost everybody in it; e-mail before SMS; a first name in every message.
    fn campaign() -> Campaign {
        let source = r#"
[campaign]
id = "spring"
name = "Spring"
locales = ["en", "de"]
channels = ["email", "sms"]
[customers]
id = "customer_id"
[segmentation]
method = "rules"
rules = [{ name = "Everyone" }]
[generation.slots]
first_name = { attribute = "first_name", fallback = "there" }
[experiment]
primary_metric = "conversion"
control = 0.0
[[experiment.arms]]
name = "friendly"
tone = "friendly"
"#;
        Campaign::parse(source, std::path::Path::new("campaign.toml")).unwrap()
    }

    fn variant(arm: &str, candidate: usize, decision: Decision) -> Vec<Variant> {
        let name = ArmName::new(arm).unwrap();
        let segment = (arm != CONTROL).then(|| SegmentName::new("Everyone").unwrap());
        let cell = |channel: Channel, locale: &str| Cell {
            segment: segment.clone(),
            arm: name.clone(),
            channel,
            locale: Locale::new(locale).unwrap(),
        };
        [(Channel::Email, "en"), (Channel::Email, "de"), (Channel::Sms, "en"), (Channel::Sms, "de")]
            .map(|(channel, locale)| Variant {
                id: cell(channel, locale).variant_id(candidate),
                cell: cell(channel, locale),
                message: Message { subject: None, body: "Hello {{first_name}}".to_owned() },
                claims: Vec::new(),
                verdict: Verdict { decision, findings: Vec::new(), severities: None },
                writer: "test".to_owned(),
                usage: Usage::default(),
            })
            .to_vec()
    }

    fn shard(columns: Vec<(&str, ArrayRef)>) -> Shard {
        let rows = columns[0].1.len();
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("C{row}"))));
        let lines: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..rows as u64));
        let columns = [(CUSTOMER_ID, ids), (SOURCE_LINE, lines)].into_iter().chain(columns);
        Shard { id: ShardId(0), rows: RecordBatch::try_from_iter(columns).unwrap() }
    }

    fn text_column(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn deliver(variants: &[Variant], shard: &Shard) -> (Table, Tally) {
        let segment =
            Segment { name: SegmentName::new("Everyone").unwrap(), description: String::new(), keywords: Vec::new() };
        let delivering = Delivering::new(&campaign(), &[segment], variants);
        let (rows, tally) = delivering.deliver(shard, &vec![0; shard.len()], &Personal::default()).unwrap();
        (Table::new(&rows).unwrap(), tally)
    }

    /// (status, variant, reason) of the only customer.
    fn outcome(variants: &[Vec<Variant>]) -> (String, Option<String>, String) {
        let (table, tally) = deliver(&variants.concat(), &shard(vec![("first_name", text_column(&[Some("Ada")]))]));
        assert_eq!(tally.total().total(), 1);
        let row = table.rows().next().unwrap();
        (row.status.to_owned(), row.variant.map(str::to_owned), row.reason.unwrap_or_default().to_owned())
    }

    #[test]
    fn a_cell_falls_back_to_its_next_candidate_then_to_control_then_to_nothing() {
        use Decision::{Approved, Blocked};
        let control = variant(CONTROL, 0, Approved);
        let (status, sent, _) =
            outcome(&[variant("friendly", 0, Blocked), variant("friendly", 1, Approved), control.clone()]);
        assert_eq!((status.as_str(), sent.as_deref()), ("assigned", Some("Everyone / friendly / email / en / 2")));

        let (status, sent, reason) = outcome(&[variant("friendly", 0, Blocked), control]);
        assert_eq!((status.as_str(), sent.as_deref()), ("fallback", Some("everyone / control / email / en / 1")));
        assert!(reason.contains("control message instead"), "{reason}");

        let (status, sent, reason) = outcome(&[variant("friendly", 0, Blocked), variant(CONTROL, 0, Blocked)]);
        assert_eq!((status.as_str(), sent), ("held", None));
        assert!(reason.contains("no approved control message"), "{reason}");

        let (status, sent, _) = outcome(&[]);
        assert_eq!((status.as_str(), sent), ("held", None));
    }

    #[test]
    fn whoever_waits_for_an_approval_gets_nothing_meanwhile() {
        let variants = [variant("friendly", 0, Decision::NeedsReview), variant(CONTROL, 0, Decision::Approved)];
        let (status, sent, reason) = outcome(&variants);
        assert_eq!((status.as_str(), sent), ("held", None));
        assert!(reason.contains("waits for approval"), "{reason}");
    }

    #[test]
    fn the_preferred_channel_is_used_where_it_is_permitted_and_never_one_that_is_not() {
        let consent = |values: [Option<bool>; 4]| Arc::new(BooleanArray::from(values.to_vec())) as ArrayRef;
        let shard = shard(vec![
            ("channel", text_column(&[Some("SMS"), Some("sms"), Some("pigeon"), None])),
            ("consent_email", consent([Some(true), Some(true), None, Some(false)])),
            ("consent_sms", consent([Some(true), Some(false), Some(true), None])),
        ]);
        let (table, tally) = deliver(&variant("friendly", 0, Decision::Approved), &shard);
        let channels: Vec<_> = table.rows().map(|row| row.channel).collect();
        assert_eq!(channels, [Some("sms"), Some("email"), Some("sms"), None]);
        assert_eq!(tally.total().held, 1);
        assert_eq!(tally.held[NO_CHANNEL], 1);
    }

    #[test]
    fn the_locale_is_the_customers_or_the_same_language_or_the_campaigns_first() {
        let locales = text_column(&[Some("de"), Some("de-AT"), Some("DE_ch"), Some("fr"), None]);
        let (table, _) = deliver(&variant("friendly", 0, Decision::Approved), &shard(vec![("locale", locales)]));
        let locales: Vec<_> = table.rows().filter_map(|row| row.locale).collect();
        assert_eq!(locales, ["de", "de", "de", "en", "en"]);
    }

    #[test]
    fn a_value_that_does_not_pass_the_screen_never_stands_in_a_message() {
        let names = text_column(&[Some("Ada"), Some(" "), None, Some("<b>Bob</b>"), Some("{{first_name}}")]);
        let (table, _) = deliver(&variant("friendly", 0, Decision::Approved), &shard(vec![("first_name", names)]));
        let slots: Vec<_> = table.rows().filter_map(|row| row.slots).collect();
        let there = "{\"first_name\":\"there\"}";
        assert_eq!(slots, ["{\"first_name\":\"Ada\"}", there, there, there, there]);
        let reasons: Vec<_> = table.rows().map(|row| row.reason.is_some()).collect();
        assert_eq!(reasons, [false, false, false, true, true]);
    }
}
