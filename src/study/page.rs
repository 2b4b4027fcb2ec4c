//! What the pages of all reports share: how they look, tables, and charts. A page needs nothing from elsewhere: no script, no
//! font, no picture of another server.

use std::fmt::Write as _;

use super::report::power;
use crate::web::page::escape;

/// How it looks, on a screen of any width and on A4.
const STYLE: &str = "\
:root{--ink:#16202a;--soft:#5b6875;--line:#d5dbe1;--fill:#1f6f8b;--warm:#c8553d;--paper:#fff}\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}h1{font-size:1.6rem;margin:.2rem 0;overflow-wrap:anywhere}\
h2{font-size:1.15rem;margin:2rem 0 .3rem;border-top:1px solid var(--line);padding-top:1rem}\
p{margin:.4rem 0;max-width:44rem}.soft{color:var(--soft);font-size:.9em}.verdict{font-size:1.1em}\
.warn{border-left:4px solid var(--warm);padding:.3rem .8rem;background:#fbefec}\
.key{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.6rem;margin:1rem 0}\
.key div{border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem}.key b{display:block;font-size:1.3rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .5rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}\
th:first-child,td:first-child,.words td,.words th{text-align:left}th{color:var(--soft);font-weight:600}\
td,th{white-space:nowrap}.words td{white-space:normal}.lines td{white-space:pre-line}.words td:last-child{min-width:16rem}\
svg{width:100%;height:auto;display:block;margin:.5rem 0}svg text{font:12px system-ui,sans-serif;fill:var(--soft)}\
.site{break-before:page}.site:first-of-type{break-before:auto}\
@media(max-width:600px){svg text{font-size:20px}svg .odd{display:none}\
.lines thead{display:none}.lines td{display:inline-block;border:0;overflow-wrap:anywhere}.lines td:last-child{display:block;min-width:0}}\
@media print{@page{size:A4;margin:15mm}body{font-size:10.5pt}main{max-width:none;padding:0}.wide{overflow:visible}table{font-size:8.5pt}th{white-space:normal}\
p{max-width:none}.key{grid-template-columns:repeat(5,1fr)}.key b{font-size:1rem}h2,h2+p,p:has(+.wide){break-after:avoid}svg,tr,.key,.wide{break-inside:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

/// A whole page around a body.
pub fn document(title: &str, body: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
    out.push_str(&escape(title));
    out.push_str("</title><style>");
    out.push_str(STYLE);
    out.push_str("</style></head><body><main>\n");
    // Writing to a string does not fail.
    let _ = body(&mut out);
    out.push_str("</main></body></html>\n");
    out
}

/// A table; cells are text.
pub fn table(out: &mut String, class: &str, head: &[&str], rows: &[Vec<String>]) {
    out.push_str("<div class=\"wide\"><table class=\"");
    out.push_str(class);
    out.push_str("\"><thead><tr>");
    for cell in head {
        let _ = write!(out, "<th>{}</th>", escape(cell));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escape(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>\n");
}

/// Where an axis has its lines: from 0 on, four or five of them, at numbers that people use.
pub fn ticks(most: f64) -> Vec<f64> {
    let raw = most.max(1e-6) / 4.0;
    let unit = 10_f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0].into_iter().map(|times| times * unit).find(|step| *step >= raw * (1.0 - 1e-9));
    let step = step.unwrap_or(10.0 * unit);
    let mut all = vec![0.0];
    for n in 1..=4_u8 {
        let last = all.last().copied().unwrap_or(0.0);
        if last >= most * (1.0 - 1e-9) {
            break;
        }
        all.push(f64::from(n) * step);
    }
    all
}

/// A power without the zeros at its end: `1.5 MW`.
pub fn short(watts: f64) -> String {
    short_of(&power(watts))
}

/// A quantity without the zeros at the end of its number.
pub fn short_of(text: &str) -> String {
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text.to_owned(),
    }
}

/// Bars, one below the other, each with its name and value.
pub fn bars(out: &mut String, rows: &[(String, f64, String)]) -> std::fmt::Result {
    let top = rows.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
    write!(
        out,
        "<div class=\"wide\"><svg viewBox=\"0 0 720 {}\" role=\"img\" aria-label=\"Months\">",
        rows.len() * 26 + 8
    )?;
    for (at, (name, value, told)) in rows.iter().enumerate() {
        let y = at * 26 + 4;
        let wide = (value / top * 500.0).max(0.0);
        write!(
            out,
            "<text x=\"90\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"98\" y=\"{y}\" width=\"{wide:.1}\" height=\"18\" \
             fill=\"#1f6f8b\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
            y + 15,
            escape(name),
            104.0 + wide,
            y + 15,
            escape(told)
        )?;
    }
    writeln!(out, "</svg></div>")
}
