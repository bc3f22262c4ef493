//! What is handed in, and what must become of it.

use std::collections::{BTreeMap, BTreeSet};

/// Enough for several shards.
const CUSTOMERS: usize = 50_000;

/// The files, and what must become of whom.
pub struct Input {
    pub customers: String,
    /// Ids that must not be contacted, one a line.
    pub suppression: String,
    pub read: usize,
    pub quarantined: usize,
    pub duplicates: usize,
    pub suppressed: BTreeSet<String>,
    /// Everybody else, and their segment.
    pub planned: BTreeMap<String, String>,
}

impl Input {
    pub fn new() -> Self {
        let head =
            "customer_id,first_name,tier,days_since_order,orders_12m,avg_order_value,marketing_opt_in,sms_opt_in\n";
        let mut input = Self {
            customers: head.to_owned(),
            suppression: String::new(),
            read: 0,
            quarantined: 0,
            duplicates: 0,
            suppressed: BTreeSet::new(),
            planned: BTreeMap::new(),
        };
        for i in 0..CUSTOMERS {
            let id = format!("C-{i:05}");
            let (name, days, orders, value) = (["Ada", "Ben", "Cleo", ""][i % 4], i * 37 % 300, i * 7 % 13, i % 60);
            let (is_bad, refuses, is_listed) = (i % 1_000 == 11, i % 100 < 9, i % 100 == 9);
            let (tier, consent) = (if is_bad { "Gold" } else { "Plus" }, if refuses { "no" } else { "yes" });
            let row = format!("{id},{name},{tier},{days},{orders},{value}.50,{consent},yes\n");
            let rows = if i % 100 == 10 { 2 } else { 1 };
            input.customers.push_str(&row.repeat(rows));
            input.read += rows;
            input.duplicates += rows - 1;
            if is_listed {
                input.suppression.push_str(&format!("{id}\n"));
            }
            match (is_bad, refuses || is_listed) {
                (true, _) => input.quarantined += 1,
                (false, true) => drop(input.suppressed.insert(id)),
                (false, false) => {
                    let segment = if orders >= 4 && days <= 60 { "Regulars" } else { "Everyone else" };
                    input.planned.insert(id, segment.to_owned());
                }
            }
        }
        input
    }

    /// What the planned customers did: every seventh of them.
    pub fn outcomes(&self) -> (String, usize) {
        let rows = self.planned.keys().enumerate().map(|(i, id)| format!("{id},{}\n", u8::from(i % 7 == 0)));
        (format!("customer_id,conversion\n{}", rows.collect::<String>()), self.planned.len().div_ceil(7))
    }
}

/// One document says something that a person should look at.
pub fn with_a_rough_word((name, text): (String, Vec<u8>)) -> (String, Vec<u8>) {
    const PLAIN: &str = "The Refill Crate holds four bags of House Blend.";
    const ROUGH: &str = "The valve of the Refill Crate keeps stale air from strangling the aroma.";
    let text = String::from_utf8(text).unwrap();
    let text = if name == "regulars-refill.md" { text.replacen(PLAIN, ROUGH, 1) } else { text };
    assert_eq!(text.contains(ROUGH), name == "regulars-refill.md");
    (name, text.into_bytes())
}
