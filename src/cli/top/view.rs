//! How `ballast top` looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::{Value, json};

use super::model::{Model, Row};
use crate::cli::orders::{at, text, watts};
use crate::cli::status::{acting, classes_in_a_line, counted, held, tree};
use crate::line::clean;

/// Smaller than this nothing of use can be shown.
const LEAST: (u16, u16) = (40, 12);
/// Lines above the circuits.
const HEAD: u16 = 7;
/// What is older is told to be, in milliseconds.
const OLD: i64 = 10_000;
/// The heights of a curve.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const KEYS: &str = "q quit  s sort  r turn  / find  Esc all";

/// Colours, or none where somebody wants none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn of(self, colour: Color) -> Style {
        if self.0 { Style::new().fg(colour) } else { Style::new() }
    }

    fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn bar(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

/// Draws everything.
pub(super) fn draw(model: &mut Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let (width, height) = LEAST;
        frame.render_widget(Paragraph::new(format!("too small: {width} columns, {height} lines")), area);
        return;
    }
    let paint = Paint(model.colours);
    let wide = usize::from(area.width);
    let body = area.height.saturating_sub(HEAD + 1);
    let circuits = circuits(model, wide, paint);
    let notes = notes(model, wide, paint);
    let tall = |lines: &[Line<'_>], most: u16| u16::try_from(lines.len()).unwrap_or(u16::MAX).min(most);
    let [head, middle, told, miners, foot] = Layout::vertical([
        Constraint::Length(HEAD),
        Constraint::Length(tall(&circuits, (body / 3 + 1).max(3))),
        Constraint::Length(tall(&notes, (body / 4).max(2))),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header(model, wide, paint)), head);
    frame.render_widget(Paragraph::new(cut(circuits, middle.height)), middle);
    frame.render_widget(Paragraph::new(cut(notes, told.height)), told);
    let place = fleet(model, frame, miners, paint);
    let words = match (model.typing, model.filter.is_empty()) {
        (true, _) => format!("find: {}_   (Enter keeps it, Esc shows all)", model.filter),
        (false, true) => String::from(KEYS),
        (false, false) => format!("{KEYS}  only \"{}\"", model.filter),
    };
    let room = wide.saturating_sub(place.chars().count() + 1);
    let foots = format!("{} {place}", column(&words, room));
    frame.render_widget(Paragraph::new(Line::styled(column(&foots, wide), paint.bar())), foot);
}

/// As many lines as fit; the last one says how many do not.
fn cut(mut lines: Vec<Line<'static>>, height: u16) -> Vec<Line<'static>> {
    let height = usize::from(height);
    if lines.len() > height {
        let more = lines.len() - height.saturating_sub(1);
        lines.truncate(height.saturating_sub(1));
        lines.push(Line::raw(format!("  and {more} more")));
    }
    lines
}

/// Text in so many columns: cut, or filled up. Control characters become visible.
fn column(words: &str, width: usize) -> String {
    let words = clean(words);
    let long = words.chars().count();
    if long <= width {
        return words + &" ".repeat(width - long);
    }
    let mut short: String = words.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Text at the right end of so many columns.
fn right(words: &str, width: usize) -> String {
    let long = words.chars().count();
    if long >= width { column(words, width) } else { " ".repeat(width - long) + words }
}

fn header(model: &Model, wide: usize, paint: Paint) -> Vec<Line<'static>> {
    let Some(frame) = &model.frame else {
        let words = model.lost.as_ref().map_or_else(
            || format!("waiting for the daemon at {}", model.at),
            |why| format!("not connected: {why}"),
        );
        return vec![Line::styled(column(&words, wide), paint.of(Color::Red))];
    };
    let (status, cycle) = (&frame.status, at(&frame.status, "/cycle"));
    let mode = text(&status["mode"]);
    let state =
        if matches!(&*mode, "observe" | "stand-by") { text(&status["would_be"]) } else { mode.clone() };
    let colour = match state.as_str() {
        "following" => Color::Green,
        "limited" => Color::Yellow,
        _ => Color::Red,
    };
    let title = format!("{}: {mode}", text(&status["site"]));
    let second = match (&model.lost, model.age()) {
        (Some(why), _) => Line::styled(column(&format!("not connected: {why}"), wide), paint.of(Color::Red)),
        (None, age) if age > OLD => Line::styled(
            column(&format!("the last news came {} s ago", age / 1_000), wide),
            paint.of(Color::Red),
        ),
        _ => Line::raw(column(&text(at(cycle, "/binding/words")), wide)),
    };
    let fleet = at(cycle, "/fleet");
    let hashes = fleet["hashrate_hashes_per_second"].as_f64().unwrap_or(0.0);
    let figures = format!(
        "budget {}   {:.1} PH/s   {}",
        watts(&fleet["budget_watts"]),
        hashes / 1e15,
        counted(at(cycle, "/miners_by_state"))
    );
    let mut lines = vec![
        Line::styled(column(&title, wide), paint.of(colour).patch(paint.head())),
        second,
        Line::raw(column(&figures, wide)),
    ];
    let root = at(cycle, "/circuits/0/power_watts");
    for (name, key, now, colour) in [
        ("surplus", "surplus_watts", &fleet["surplus_watts"], Color::Green),
        ("fleet", "power_watts", &fleet["power_watts"], Color::Blue),
        ("import", "import_watts", root, Color::Magenta),
    ] {
        let room = wide.saturating_sub(20);
        lines.push(Line::from(vec![
            Span::raw(column(name, 8)),
            Span::raw(right(&watts(now), 10)),
            Span::raw("  "),
            Span::styled(curve(model.curves.get(key).unwrap_or(&Value::Null), room), paint.of(colour)),
        ]));
    }
    lines.push(Line::raw(""));
    lines
}

/// A curve as a row of bars, the latest at the right; negative values are as zero, and a blank is not known.
fn curve(values: &Value, width: usize) -> String {
    let values: Vec<Option<f64>> =
        values.as_array().map_or_else(Vec::new, |values| values.iter().map(Value::as_f64).collect());
    // As many values in each column, the last ones where they do not come out even.
    let each = values.len().div_ceil(width.max(1)).max(1);
    let skip = values.len() % each;
    let mean = |part: &[Option<f64>]| {
        let (sum, count) =
            part.iter().flatten().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        (count > 0.0).then(|| sum / count)
    };
    let means: Vec<Option<f64>> = values.get(skip..).unwrap_or(&[]).chunks(each).map(mean).collect();
    let most = means.iter().flatten().fold(1.0_f64, |most, value| most.max(*value));
    let bar = |value: &Option<f64>| {
        let Some(part) = value.map(|value| value / most * 8.0) else { return ' ' };
        let mut height = HEIGHTS[0];
        let mut step = 1.0;
        for next in HEIGHTS.iter().skip(1) {
            if part > step {
                height = *next;
            }
            step += 1.0;
        }
        height
    };
    right(&means.iter().map(bar).collect::<String>(), width)
}

fn circuits(model: &Model, wide: usize, paint: Paint) -> Vec<Line<'static>> {
    let Some(frame) = &model.frame else { return Vec::new() };
    let all = at(&frame.status, "/cycle/circuits");
    let name = (wide / 4).clamp(12, 32);
    let head = format!(
        "{}{}{}{}  {}",
        column("CIRCUIT", name),
        right("POWER", 10),
        right("MINERS", 10),
        right("BUDGET", 10),
        "HELD BY"
    );
    let mut lines = vec![Line::styled(column(&head, wide), paint.head())];
    for (depth, circuit) in tree(all) {
        let row = format!(
            "{}{}{}{}  {}",
            column(&format!("{}{}", "  ".repeat(depth), text(&circuit["name"])), name),
            right(&watts(&circuit["power_watts"]), 10),
            right(&watts(&circuit["miners_watts"]), 10),
            right(&watts(&circuit["budget_watts"]), 10),
            held(circuit)
        );
        lines.push(Line::raw(column(&row, wide)));
    }
    lines
}

/// Orders and alarms, the urgent ones first, and what each class draws where there are servers.
fn notes(model: &Model, wide: usize, paint: Paint) -> Vec<Line<'static>> {
    let Some(frame) = &model.frame else { return Vec::new() };
    let mut lines = Vec::new();
    for alarm in &model.alarms {
        let severity = text(&alarm["severity"]);
        let known = at(alarm, "/acknowledged/by").as_str();
        let known = known.map_or_else(String::new, |by| format!(" (known to {by})"));
        let style = match severity.as_str() {
            "critical" => paint.of(Color::Red).patch(paint.head()),
            "warning" => paint.of(Color::Yellow),
            _ => Style::new(),
        };
        let words = format!("alarm, {severity}: {}{known}", text(&alarm["words"]));
        lines.push(Line::styled(column(&words, wide), style));
    }
    for work in &model.works {
        lines.push(Line::styled(column(work, wide), paint.of(Color::Cyan)));
    }
    for order in acting(at(&frame.status, "/signals/sources")) {
        lines.push(Line::raw(column(&order, wide)));
    }
    if lines.is_empty() {
        lines.push(Line::raw("no alarms, no orders act"));
    }
    if let Some(words) = classes_in_a_line(at(&frame.status, "/cycle/classes")) {
        lines.push(Line::raw(column(&words, wide)));
    }
    lines
}

/// The miners. Gives which of them are shown, and how they are sorted.
fn fleet(model: &mut Model, frame: &mut Frame<'_>, area: Rect, paint: Paint) -> String {
    if model.frame.is_none() {
        return String::new();
    }
    let wide = usize::from(area.width);
    let rows = model.shown();
    model.page = usize::from(area.height.saturating_sub(1)).max(1);
    model.above = model.above.min(rows.len().saturating_sub(model.page));
    let name = (wide / 4).clamp(10, 32);
    let circuit = (wide / 5).clamp(8, 24);
    let turned = if model.turned { ", turned" } else { "" };
    let first = (model.above + 1).min(rows.len());
    let last = (model.above + model.page).min(rows.len());
    let head = format!(
        "{}{}{}{}{}  DRIVER",
        column("MINER", name),
        column("CIRCUIT", circuit),
        column("STATE", 12),
        right("DRAWS", 9),
        right("TOLD", 9),
    );
    let mut lines = vec![Line::styled(column(&head, wide), paint.head())];
    for row in rows.iter().skip(model.above).take(model.page) {
        lines.push(miner(model, row, name, circuit, wide, paint));
    }
    frame.render_widget(Paragraph::new(lines), area);
    format!("{first}–{last} of {} by {}{turned}", rows.len(), model.sort.name())
}

fn miner(model: &Model, row: &Row, name: usize, circuit: usize, wide: usize, paint: Paint) -> Line<'static> {
    let (its, on, driver) = model.named(row);
    let state = model.state(row);
    let told = match row.told {
        Some(told) if told < 0.0 => String::from("sleep"),
        Some(told) => watts(&json!(told)),
        None => String::from("–"),
    };
    let colour = match state {
        "hashing" => paint.of(Color::Green),
        "asleep" | "starting" | "pending" => Style::new(),
        _ => paint.of(Color::Red),
    };
    let mark = if row.marked { "!" } else { " " };
    let rest = wide.saturating_sub(name + circuit + 12 + 18);
    Line::from(vec![
        Span::raw(column(its, name.saturating_sub(1)) + " "),
        Span::raw(column(on, circuit.saturating_sub(1)) + " "),
        Span::styled(column(&format!("{state}{mark}"), 12), colour),
        Span::raw(right(&watts(&json!(row.draw)), 9)),
        Span::raw(right(&told, 9)),
        Span::raw(column(&format!("  {driver}"), rest)),
    ])
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;
    use crate::cli::live::{self, News, Roster};

    /// A site of so many miners.
    fn model(miners: usize) -> Model {
        let mut model = Model::new("http://127.0.0.1:9842", false);
        let circuit = |name: &str, parent: Value| {
            json!({
                "name": name, "parent": parent, "power_watts": 1_000.0, "miners_watts": 284_000.0, "budget_watts": 285_100.0,
                "breaker": null, "interlock": null,
                "cap": { "circuit": "pcc", "cap_watts": 0.0, "words": "follows the surplus: 285.1 kW" },
            })
        };
        let circuits: Vec<Value> = std::iter::once(circuit("pcc", Value::Null))
            .chain((1..6).map(|n| circuit(&format!("container-{n}"), json!("pcc"))))
            .collect();
        let states = ["hashing", "asleep", "fault"].map(String::from).to_vec();
        let roster = json!({
            "generation": "1", "states": states, "circuits": circuits,
            "miners": (0..miners).map(|n| json!([format!("c{}-{n:05}", n % 5), n % 6, "braiins-os", 3_500.0])).collect::<Vec<_>>(),
        });
        model.take(News::Roster(serde_json::from_value::<Roster>(roster).unwrap()));
        let status = json!({
            "site": "Mill", "mode": "following", "would_be": "following",
            "signals": { "sources": [{ "name": "utility", "caps": [
                { "circuit": "pcc", "caps": "import", "cap_watts": 150_000.0, "why": "order", "order": "night" },
            ] }] },
            "cycle": {
                "binding": { "words": "follows the surplus: 285.1 kW" },
                "fleet": { "surplus_watts": 285_600.0, "budget_watts": 285_100.0, "power_watts": 284_000.0,
                           "hashrate_hashes_per_second": 1.53e16 },
                "miners_by_state": { "hashing": miners }, "circuits": circuits,
            },
        });
        let rows = live::Rows {
            whole: true,
            rows: (0..miners)
                .map(|n| {
                    let draw = 1_000.0 + u32::try_from(n).map_or(0.0, f64::from);
                    (
                        n,
                        usize::from(n % 7 == 3),
                        draw,
                        Some(if n % 7 == 3 { -1.0 } else { 3_000.0 }),
                        u8::from(n == 0),
                    )
                })
                .collect(),
        };
        let at = crate::clock::unix_millis();
        model.take(News::Frame(Box::new(live::Frame { at, status, alarms: Value::Null, miners: rows })));
        model.take(News::Alarms(json!({ "alarms": [
            { "severity": "critical", "words": "grid does not answer", "cleared": null, "acknowledged": null },
            { "severity": "warning", "words": "long ago", "cleared": 5, "acknowledged": null },
        ] })));
        let ramp: Vec<f64> = (0..1_440).map(f64::from).collect();
        model.take(News::Curves(
            json!({ "surplus_watts": ramp, "power_watts": [null, 5.0, null], "import_watts": [-5.0] }),
        ));
        model
    }

    fn screen(model: &mut Model, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(model, frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        (0..height)
            .map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned())
            .collect()
    }

    fn press(model: &mut Model, keys: &str) {
        for key in keys.chars() {
            assert!(!model.key(KeyEvent::from(KeyCode::Char(key))), "{key} ends it");
        }
    }

    #[test]
    fn everything_has_its_place_on_a_screen_of_80_columns_and_24_lines() {
        let mut model = model(120);
        let lines = screen(&mut model, 80, 24);
        let all = lines.join("\n");
        assert_eq!(lines[0], "Mill: following");
        assert_eq!(lines[1], "follows the surplus: 285.1 kW");
        assert_eq!(lines[2], "budget 285 kW   15.3 PH/s   120 miners: 120 hashing");
        assert!(lines[3].starts_with("surplus     286 kW  ▁") && lines[3].ends_with('█'), "{all}");
        assert!(
            lines[4].starts_with("fleet       284 kW") && lines[5].starts_with("import        1 kW"),
            "{all}"
        );
        assert!(lines[7].starts_with("CIRCUIT") && lines[8].starts_with("pcc  "), "{all}");
        assert!(lines[9].starts_with("  container-1") && lines[9].ends_with("as pcc"), "{all}");
        assert!(all.contains("and 2 more"), "{all}");
        assert!(all.contains("alarm, critical: grid does not answer") && !all.contains("long ago"), "{all}");
        assert!(all.contains("order night of utility: 150 kW on pcc"), "{all}");
        assert!(all.contains("c0-00000") && all.contains("hashing!"), "{all}");
        assert!(lines[23].starts_with("q quit"), "{all}");
        assert_eq!(lines.len(), 24);
    }

    #[test]
    fn servers_have_their_class_behind_the_driver_and_each_class_has_its_draw() {
        let mut model = model(3);
        let roster = json!({
            "generation": "2", "states": ["hashing"], "circuits": [{ "name": "pcc" }],
            "miners": [["m-1", 0, "braiins-os", 3_500.0], ["gpu-1", 0, "redfish", 7_700.0]], "servers": [[1, "throttle"]],
        });
        model.take(News::Roster(serde_json::from_value::<Roster>(roster).unwrap()));
        let class = |class: &str, watts: f64| json!({ "class": class, "power_watts": watts, "sheddable_watts": watts / 2.0, "paused": 0 });
        let status = json!({ "mode": "following", "cycle": { "classes": [class("miner", 3_400.0), class("throttle", 6_000.0)] } });
        let rows = live::Rows {
            whole: true,
            rows: vec![(0, 0, 3_400.0, Some(3_400.0), 0), (1, 0, 6_000.0, Some(6_000.0), 0)],
        };
        let at = crate::clock::unix_millis();
        model.take(News::Frame(Box::new(live::Frame { at, status, alarms: Value::Null, miners: rows })));
        let lines = screen(&mut model, 120, 40).join("\n");
        assert!(lines.contains("redfish, throttle"), "{lines}");
        assert!(lines.contains("miner 3.4 kW (1.7 kW to give), throttle 6 kW (3 kW to give)"), "{lines}");
        press(&mut model, "/throttle");
        assert_eq!(model.shown().len(), 1, "a class is found");
    }

    #[test]
    fn what_is_worked_on_stands_below_the_alarms() {
        let mut model = model(12);
        model.take(News::Works(json!({ "maintenance": [{
            "name": "c1-00001", "kind": "miner", "miners": 1, "hold": "hands-off", "by": "Aisha", "note": "fan",
            "begun": 1_790_000_000_000_i64, "until": null,
        }] })));
        let lines = screen(&mut model, 120, 40).join("\n");
        assert!(lines.contains("in maintenance: miner c1-00001 since 20"), "{lines}");
        assert!(lines.contains("by Aisha, left alone: fan"), "{lines}");
    }

    #[test]
    fn a_large_screen_shows_more_and_a_tiny_one_says_so() {
        let mut model = model(10_000);
        let lines = screen(&mut model, 200, 50);
        let all = lines.join("\n");
        assert!(all.contains("container-5") && !all.contains("more\n"), "{all}");
        assert!(all.contains("1–32 of 10000 by configuration"), "{all}");
        assert!(all.contains("braiins-os"), "{all}");
        assert!(screen(&mut model, 30, 5)[0].starts_with("too small"));
        for (width, height) in [(40, 12), (41, 13), (79, 24), (120, 200), (500, 12)] {
            assert_eq!(screen(&mut model, width, height).len(), usize::from(height));
        }
    }

    #[test]
    fn keys_sort_find_and_move() {
        let mut model = model(1_000);
        press(&mut model, "sss");
        let lines = screen(&mut model, 80, 24).join("\n");
        assert!(lines.contains("by draw") && lines.contains("c4-00999"), "{lines}");
        press(&mut model, "r");
        assert!(screen(&mut model, 80, 24).join("\n").contains("by draw, turned"));
        press(&mut model, "/c2-q");
        assert!(screen(&mut model, 80, 24)[23].starts_with("find: c2-q_"));
        assert!(!model.key(KeyEvent::from(KeyCode::Backspace)));
        assert!(!model.key(KeyEvent::from(KeyCode::Enter)));
        let lines = screen(&mut model, 80, 24).join("\n");
        assert!(lines.contains("of 200 by") && lines.contains("only \"c2"), "{lines}");
        let _ = model.key(KeyEvent::from(KeyCode::End));
        assert!(screen(&mut model, 80, 24).join("\n").contains("–200 of 200"));
        let _ = model.key(KeyEvent::from(KeyCode::PageUp));
        let _ = model.key(KeyEvent::from(KeyCode::Esc));
        press(&mut model, "/asleep");
        let _ = model.key(KeyEvent::from(KeyCode::Enter));
        assert!(screen(&mut model, 80, 24).join("\n").contains("of 143 by"), "every seventh sleeps");
        assert!(model.key(KeyEvent::from(KeyCode::Char('q'))));
        assert!(model.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }

    #[test]
    fn a_daemon_that_is_gone_is_told_and_what_was_known_stays() {
        let mut fresh = Model::new("http://127.0.0.1:9842", true);
        assert!(screen(&mut fresh, 80, 24)[0].starts_with("waiting for the daemon at http://127"));
        fresh.take(News::Lost("refused".into()));
        assert!(screen(&mut fresh, 80, 24)[0].starts_with("not connected: refused"));
        let mut model = model(3);
        model.take(News::Lost("no daemon answers".into()));
        let lines = screen(&mut model, 80, 24);
        assert_eq!(
            (lines[0].as_str(), lines[1].as_str()),
            ("Mill: following", "not connected: no daemon answers")
        );
        model.take(News::Connected);
        assert_eq!(screen(&mut model, 80, 24)[1], "follows the surplus: 285.1 kW");
    }

    #[test]
    fn a_curve_ends_at_the_right_and_has_gaps_where_nothing_was_known() {
        assert_eq!(curve(&json!([0.0, 8.0, null, 4.1, -3.0]), 8), "   ▁█ ▅▁");
        let long: Vec<f64> = (0..1_000).map(f64::from).collect();
        let told = curve(&json!(long), 60);
        assert_eq!(told.chars().count(), 60);
        assert!(told.ends_with('█'), "{told}");
        assert_eq!(curve(&Value::Null, 5), "     ");
    }
}
