//! The charts of the results, as SVG that stands in the page.
//!
//! Each row has its name and numbers above its line, so that a chart can be read at the width of a phone.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{agents::experimentation::analysis::Interval, report::Error};

const WIDTH: u32 = 480;
const ROW: u32 = 52;
const AXIS: u32 = 30;
const MARGIN: u32 = 14;

const INK: RGBColor = RGBColor(0x1c, 0x27, 0x33);
const AXIS_INK: RGBColor = RGBColor(0x5a, 0x66, 0x73);
const GRID: RGBColor = RGBColor(0xe4, 0xe8, 0xec);
const STRONG: RGBColor = RGBColor(0x0f, 0x66, 0x74);
const MUTED: RGBColor = RGBColor(0x73, 0x7f, 0x8c);
const PALE: f64 = 0.22;

/// One line of a chart.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    /// The numbers in words: `1.2% (0.8% to 1.7%)`.
    pub label: String,
    pub value: f64,
    pub interval: Option<Interval>,
    pub mark: Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// An arm, or a significant effect.
    Strong,
    /// Control.
    Muted,
    /// An effect that is not significant.
    Hollow,
}

/// Bars from zero with their intervals.
pub fn levels(rows: &[Row], format: fn(f64) -> String) -> Result<String, Error> {
    draw(rows, format, |chart, row, middle| {
        let colour = colour(row.mark);
        chart.draw(&Rectangle::new([(0.0, middle - 0.16), (row.value, middle + 0.16)], colour.mix(PALE).filled()))?;
        chart.draw(&PathElement::new(
            [(row.value, middle - 0.16), (row.value, middle + 0.16)],
            colour.stroke_width(3),
        ))?;
        whiskers(chart, row, middle)
    })
}

/// A forest plot: each effect with its interval against no effect.
pub fn effects(rows: &[Row], format: fn(f64) -> String) -> Result<String, Error> {
    draw(rows, format, |chart, row, middle| {
        whiskers(chart, row, middle)?;
        let colour = colour(row.mark);
        let at = (row.value, middle);
        if row.mark == Mark::Hollow {
            chart.draw(&Circle::new(at, 6, WHITE.filled()))?;
            chart.draw(&Circle::new(at, 6, colour.stroke_width(2)))
        } else {
            chart.draw(&Circle::new(at, 6, colour.filled()))
        }
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plot<'a> = DrawingArea<
    SVGBackend<'a>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn colour(mark: Mark) -> RGBColor {
    match mark {
        Mark::Strong => STRONG,
        Mark::Muted | Mark::Hollow => MUTED,
    }
}

fn whiskers(plot: &Plot<'_>, row: &Row, middle: f64) -> Drawn {
    let Some(interval) = row.interval else { return Ok(()) };
    if !(interval.low.is_finite() && interval.high.is_finite()) {
        return Ok(());
    }
    let line = colour(row.mark).stroke_width(2);
    plot.draw(&PathElement::new([(interval.low, middle), (interval.high, middle)], line))?;
    for end in [interval.low, interval.high] {
        plot.draw(&PathElement::new([(end, middle - 0.09), (end, middle + 0.09)], line))?;
    }
    Ok(())
}

fn draw(
    rows: &[Row],
    format: fn(f64) -> String,
    draw_row: impl Fn(&Plot<'_>, &Row, f64) -> Drawn,
) -> Result<String, Error> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (WIDTH, ROW * rows.len() as u32 + AXIS)).into_drawing_area();
    draw_on(&root, rows, format, draw_row).map_err(|error| Error::Chart(error.to_string()))?;
    drop(root);
    Ok(svg)
}

fn draw_on(
    root: &Area<'_>,
    rows: &[Row],
    format: fn(f64) -> String,
    draw_row: impl Fn(&Plot<'_>, &Row, f64) -> Drawn,
) -> Drawn {
    // Zero is always on the axis: without it neither a bar nor an effect can be judged.
    let values = rows
        .iter()
        .flat_map(|row| row.interval.map_or([row.value; 3], |found| [row.value, found.low, found.high]))
        .filter(|value| value.is_finite());
    let (low, high) = values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let span = if high > low { high - low } else { 1.0 };
    let domain =
        (if low < 0.0 { low - 0.04 * span } else { 0.0 })..(if high > 0.0 { high + 0.04 * span } else { 0.04 * span });

    let mut chart = ChartBuilder::on(root)
        .margin_left(MARGIN)
        .margin_right(MARGIN)
        .x_label_area_size(AXIS)
        .build_cartesian_2d(domain.clone(), rows.len() as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(5)
        .x_label_formatter(&|value| format(*value))
        .x_label_style(("sans-serif", 16).into_font().color(&AXIS_INK))
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    let plot = chart.plotting_area();
    let text = |h| TextStyle::from(("sans-serif", 17).into_font()).color(&INK).pos(Pos::new(h, VPos::Top));
    for (index, row) in rows.iter().enumerate() {
        let top = index as f64;
        plot.draw(&PathElement::new([(0.0, top + 0.44), (0.0, top + 0.96)], AXIS_INK.stroke_width(1)))?;
        plot.draw(&(EmptyElement::at((domain.start, top)) + Text::new(row.name.clone(), (0, 6), text(HPos::Left))))?;
        plot.draw(&(EmptyElement::at((domain.end, top)) + Text::new(row.label.clone(), (0, 6), text(HPos::Right))))?;
        if row.value.is_finite() {
            draw_row(plot, row, top + 0.7)?;
        }
    }
    root.present()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::numbers;

    fn row(value: f64, low: f64, high: f64) -> Row {
        Row {
            name: "a <b>".to_owned(),
            label: "x".to_owned(),
            value,
            interval: Some(Interval { low, high }),
            mark: Mark::Strong,
        }
    }

    #[test]
    fn charts_are_well_formed_whatever_the_numbers() {
        let rows = [
            row(0.1, 0.05, 0.2),
            row(0.0, 0.0, 0.0),
            row(-3.0, f64::NEG_INFINITY, 1.0),
            row(f64::NAN, f64::NAN, f64::NAN),
            row(1e12, -1e12, 1e13),
        ];
        for rows in [&rows[..], &rows[..1], &rows[1..2], &rows[2..3], &[]] {
            for svg in [levels(rows, numbers::percent).unwrap(), effects(rows, numbers::percent).unwrap()] {
                roxmltree::Document::parse(&svg).unwrap_or_else(|error| panic!("{error}\n{svg}"));
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }
}
