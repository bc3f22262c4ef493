//! Invented outcomes, so that a demo has something to analyse. Every row says that it is simulated.

use std::io::Write;

use crate::{
    agents::experimentation::{design::Design, outcomes::SIMULATED, point::Points},
    domain::{
        customer::CUSTOMER_ID,
        experiment::{CONTROL, HOLDOUT},
    },
};

/// Control's rate where the campaign declares no baseline.
const RATE: f64 = 0.05;
/// Relative effects of the first, second, ... arm, then from the start again: some better, one without any effect.
const EFFECTS: [f64; 4] = [0.20, 0.0, 0.10, -0.10];
/// Whoever gets nothing converts less often than with the control message.
const HOLDOUT_EFFECT: f64 = -0.30;

/// Writes `customer_id,<primary metric>,simulated`. A customer's outcome depends on nothing but salt, id and arm.
pub struct Simulation<W: Write> {
    points: Points,
    /// By arm.
    rates: Vec<(String, f64)>,
    csv: csv::Writer<W>,
}

impl<W: Write> Simulation<W> {
    pub fn new(design: &Design, to: W) -> csv::Result<Self> {
        let baseline = design.baseline.unwrap_or(RATE);
        let mut effects = EFFECTS.iter().cycle();
        let mut effect = |arm: &str| match arm {
            CONTROL => 0.0,
            HOLDOUT => HOLDOUT_EFFECT,
            _ => *effects.next().expect("a cycle never ends"),
        };
        let rates = design.arms.iter().map(|arm| (arm.name.to_string(), baseline * (1.0 + effect(arm.name.as_str()))));
        let rates = rates.collect();
        let mut csv = csv::Writer::from_writer(to);
        csv.write_record([CUSTOMER_ID, &design.primary_metric, SIMULATED])?;
        Ok(Self { points: Points::new(&["cpo/simulate/1", &design.salt]), rates, csv })
    }

    /// A customer of an arm that the design does not know converts at no rate.
    pub fn add(&mut self, customer: &str, arm: &str) -> csv::Result<()> {
        let rate = self.rates.iter().find(|(name, _)| name == arm).map_or(0.0, |(_, rate)| *rate);
        let outcome = if self.points.at(&[customer]) < rate { "1" } else { "0" };
        self.csv.write_record([customer, outcome, "true"])
    }

    pub fn finish(self) -> csv::Result<W> {
        self.csv.into_inner().map_err(|error| error.into_error().into())
    }
}
