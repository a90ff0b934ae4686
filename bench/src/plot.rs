//! The curve of verify's latency over the number of keys, as an SVG that reads well on light and dark pages.

use std::fmt::Write as _;

use crate::measure::Times;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) keys: usize,
    pub(crate) times: Times,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 60.0;

/// The class of a line, its name, and which of the times it shows.
type Series = (&'static str, &'static str, fn(&Times) -> f64);

const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .quiet { fill: #57606a }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .claviger { stroke: #0969da; fill: #0969da } .floor { stroke: #8250df; fill: #8250df }
  polyline { fill: none !important; stroke-width: 2.5 } .floor polyline { stroke-dasharray: 6 4 }
  .claviger text, .floor text { stroke: none; fill: inherit } circle { stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .grid { stroke: #3d444d }
    .claviger { stroke: #4493f8; fill: #4493f8 } .floor { stroke: #ab7df8; fill: #ab7df8 }
  }
";

/// The picture. Keys on a logarithmic axis, nanoseconds on one from zero.
pub(crate) fn svg(points: &[Point]) -> String {
    let most_ns = points.iter().map(|point| point.times.engine.max(point.times.floor)).fold(1.0, f64::max);
    let step_ns = if most_ns > 600.0 { 200.0 } else { 100.0 };
    let top_ns = (most_ns / step_ns).ceil() * step_ns;
    let (first, last) = (log(points.first()), log(points.last()));
    let x = |keys: usize| LEFT + ((keys as f64).log10() - first) / (last - first).max(1.0) * (WIDTH - LEFT - RIGHT);
    let y = |ns: f64| HEIGHT - BOTTOM - ns / top_ns * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Time of one verification over the number of keys\">\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"26\">One verification, from a thousand to ten million keys</text>\n"
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = svg.write_fmt(text);
        svg.push('\n');
    };
    let right = WIDTH - RIGHT;
    for number in 0..=(top_ns / step_ns) as usize {
        let ns = number as f64 * step_ns;
        let (at, text_at) = (y(ns), y(ns) + 4.0);
        line(format_args!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"));
        let label_at = LEFT - 10.0;
        line(format_args!("<text class=\"quiet\" text-anchor=\"end\" x=\"{label_at}\" y=\"{text_at:.1}\">{ns}</text>"));
    }
    for point in points {
        let (at, below) = (x(point.keys), HEIGHT - BOTTOM + 22.0);
        let keys = short(point.keys);
        line(format_args!("<text class=\"quiet\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{below}\">{keys}</text>"));
    }
    let (middle, bottom, half) = (f64::midpoint(LEFT, right), HEIGHT - 12.0, HEIGHT / 2.0);
    line(format_args!("<text class=\"quiet\" text-anchor=\"middle\" x=\"{middle}\" y=\"{bottom}\">keys</text>"));
    line(format_args!(
        "<text class=\"quiet\" text-anchor=\"middle\" transform=\"translate(18 {half}) rotate(-90)\">nanoseconds</text>"
    ));
    let series: [Series; 2] =
        [("claviger", "Claviger", |times| times.engine), ("floor", "SHA-256 + map", |times| times.floor)];
    for (class, name, of) in series {
        let places: Vec<(f64, f64)> = points.iter().map(|point| (x(point.keys), y(of(&point.times)))).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        line(format_args!("<g class=\"{class}\">\n<polyline points=\"{}\"/>", path.join(" ")));
        for (point, (x, y)) in points.iter().zip(&places) {
            let (ns, above) = (of(&point.times), y - 10.0);
            line(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"));
            line(format_args!("<text text-anchor=\"middle\" x=\"{x:.1}\" y=\"{above:.1}\">{ns:.0}</text>"));
        }
        if let Some((x, y)) = places.last() {
            let (beside, level) = (x + 16.0, y + 5.0);
            line(format_args!("<text x=\"{beside:.1}\" y=\"{level:.1}\">{name}</text>"));
        }
        line(format_args!("</g>"));
    }
    svg.push_str("</svg>\n");
    svg
}

fn log(point: Option<&Point>) -> f64 {
    point.map_or(0.0, |point| (point.keys as f64).log10())
}

/// 1 k, 10 M.
fn short(keys: usize) -> String {
    match keys {
        1_000_000.. => format!("{} M", keys / 1_000_000),
        1_000.. => format!("{} k", keys / 1_000),
        _ => keys.to_string(),
    }
}
