//! What to ask a host next. Pure: from the answers so far to the next questions, until there are none.
//!
//! How each firmware gives itself away without an account is on record in two public projects, asic-rs
//! (`asic-rs-firmwares/*/src/firmware.rs`) and pyasic (`pyasic/miners/factory.py`): the word that its cgminer API
//! writes into `version`, a word in its web page, or the realm of its digest challenge.

use serde_json::Value;

use super::evidence::{Door, Evidence, Page, Question, Reply};
use super::finding::Firmware;

/// More questions than any firmware needs, logins aside: a host that leads in circles ends here.
pub const MOST_QUESTIONS: usize = 16;

/// The fields that Braiins OS told without a login before its REST API (schema in asic-rs `meta/braiins/*`).
pub const GRAPH_QUERY: &str = "{bosminer{info{modelName summary{power{approxConsumptionW limitW}} \
     workSolver{realHashrate{mhs5S}}}} bos{hostname info{version{full}}}}";

/// The first page of the web interface.
pub const ROOT: Question = Question::Web("/");
/// Braiins OS: tells its version without a login.
pub const GRAPH: Question = Question::Graph(GRAPH_QUERY);

/// What runs on a host, as far as the answers tell.
pub fn recognise(evidence: &Evidence) -> Option<Firmware> {
    // API 3 has a frame of its own; nothing else speaks it, not even to say no.
    if evidence.speaks_frames() {
        return Some(Firmware::WhatsminerV3);
    }
    let web = web(evidence);
    let api = api(evidence);
    // A firmware update closes the old port and opens the new one.
    let moved = evidence.is_open(Door::Framed) && !evidence.is_open(Door::Api);
    if web == Some(Firmware::WhatsminerWeb) && moved {
        return Some(Firmware::WhatsminerV3);
    }
    match (api, web) {
        // VNish and ePIC leave the words of Bitmain's firmware in the cgminer API.
        (None | Some(Firmware::BitmainStock | Firmware::Cgminer), Some(web)) => Some(web),
        (Some(api), _) => Some(api),
        (None, None) => None,
    }
    .map(|firmware| refine(firmware, evidence))
}

/// Tells the generations of one vendor apart.
fn refine(firmware: Firmware, evidence: &Evidence) -> Firmware {
    match firmware {
        Firmware::WhatsminerV2 => {
            let version = evidence.api("get_version").and_then(|reply| reply.pointer("/Msg/api_ver"));
            match version.and_then(Value::as_str) {
                // "whatsminer v1.4.0"; API 2 writes "2.0.5".
                Some(version) if version.contains("v1.") => Firmware::WhatsminerV1,
                _ => Firmware::WhatsminerV2,
            }
        }
        Firmware::BraiinsOs => {
            let rest = evidence.web("/api/v1/version").is_some_and(|reply| reply.get("major").is_some());
            match super::identify::braiins_release(evidence) {
                Some(release) if release < (25, 7) => Firmware::BraiinsOsOld,
                Some(_) => Firmware::BraiinsOs,
                None if rest || !evidence.asked(Question::Web("/api/v1/version")) => Firmware::BraiinsOs,
                None => Firmware::BraiinsOsOld,
            }
        }
        other => other,
    }
}

/// By the words of the cgminer API.
fn api(evidence: &Evidence) -> Option<Firmware> {
    let mut spoke = false;
    for command in ["version", "get_version", "devdetails"] {
        let Some(reply) = evidence.api(command) else { continue };
        // Not every object is the cgminer API: it always has a status.
        if reply.get("STATUS").is_none() && reply.get("Code").is_none() {
            continue;
        }
        spoke = true;
        let text = reply.to_string().to_ascii_uppercase();
        let word = |word: &str| text.contains(word);
        let found = if word("BOSMINER") || word("BOSER") {
            Firmware::BraiinsOs
        } else if word("BTMINER") || word("BITMICRO") || word("WHATSMINER") {
            Firmware::WhatsminerV2
        } else if word("LUXMINER") {
            Firmware::LuxOs
        } else if word("KAONSU") || word("MARAFW") {
            Firmware::Mara
        } else if word("VNISH") {
            Firmware::Vnish
        } else if word("BDMINER") {
            Firmware::SealMiner
        } else if word("GCMINER") || word("FLUXOS") {
            Firmware::Auradine
        } else if word("AVALON") {
            Firmware::Avalon
        } else if word("RWGLR") {
            Firmware::Msk
        } else if word("HIVEON") {
            Firmware::Hiveon
        } else if word("ANTMINER") {
            Firmware::BitmainStock
        } else if command == "get_version" && reply.pointer("/Msg/fw_ver").is_some() {
            Firmware::WhatsminerV2
        } else {
            continue;
        };
        return Some(found);
    }
    // Only once the further questions brought nothing is it "some cgminer".
    (spoke && evidence.asked(Question::Api("devdetails"))).then_some(Firmware::Cgminer)
}

/// By the web interface.
fn web(evidence: &Evidence) -> Option<Firmware> {
    if evidence.json(Question::Epic("/capabilities")).is_some_and(|reply| reply.get("Model").is_some()) {
        return Some(Firmware::Epic);
    }
    if let Some(page) = evidence.page(ROOT) {
        let found = by_page(page);
        // Routers have the same web interface, but none of the two APIs.
        let miner = evidence.is_open(Door::Api) || evidence.is_open(Door::Framed);
        if found.is_some() && (miner || found != Some(Firmware::WhatsminerWeb)) {
            return found;
        }
    }
    let told = |path, key| evidence.web(path).is_some_and(|reply| reply.get(key).is_some());
    if told("/api/system/info", "ASICModel") || told("/api/system/info", "asicCount") {
        return Some(Firmware::AxeOs);
    }
    if told("/api/v1/info", "fw_name") || told("/api/v1/info", "fw_version") {
        return Some(Firmware::Vnish);
    }
    if told("/api/v1/version", "major") {
        return Some(Firmware::BraiinsOs);
    }
    told("/api/v1/system", "system-info").then_some(Firmware::Proto)
}

fn by_page(page: &Page) -> Option<Firmware> {
    let has = |word: &str| page.body.contains(word);
    if page.status == 401 && page.challenge.contains("realm=\"antMiner") {
        return Some(Firmware::BitmainStock);
    }
    let words = [
        ("AnthillOS", Firmware::Vnish),
        ("Braiins OS", Firmware::BraiinsOs),
        ("Luxor Firmware", Firmware::LuxOs),
        ("Miner Web Dashboard", Firmware::Epic),
        ("Proto OS", Firmware::Proto),
        ("<title>Ballast", Firmware::Ballast),
        ("AxeOS", Firmware::AxeOs),
        ("amazeui", Firmware::SealMiner),
        ("Miner UI", Firmware::Auradine),
        ("Avalon", Firmware::Avalon),
    ];
    if let Some((_, firmware)) = words.into_iter().find(|(word, _)| has(word)) {
        return Some(firmware);
    }
    let luci = has("/cgi-bin/luci") || page.location.contains("/cgi-bin/luci");
    (luci || (page.status == 307 && page.location.starts_with("https://"))).then_some(Firmware::WhatsminerWeb)
}

/// The next questions; none when everything worth asking was asked.
pub fn next(evidence: &Evidence) -> Vec<Question> {
    let mut wanted: Vec<Question> = Vec::new();
    if evidence.is_open(Door::Api) {
        wanted.push(Question::Api("version"));
    }
    if evidence.is_open(Door::Framed) {
        wanted.push(Question::Framed("get.device.info", None));
    }
    if evidence.is_open(Door::Web) {
        wanted.push(ROOT);
    }
    let fresh = |wanted: Vec<Question>| -> Vec<Question> {
        let room = MOST_QUESTIONS.saturating_sub(evidence.replies.len());
        wanted
            .into_iter()
            .filter(|question| evidence.is_open(question.door()) && !evidence.asked(*question))
            .take(room)
            .collect()
    };
    let first = fresh(wanted);
    if !first.is_empty() {
        return first;
    }
    match recognise(evidence) {
        None => fresh(unrecognised(evidence)),
        // A page alone is a weak sign: the APIs that it hints at are asked before it is believed.
        Some(Firmware::WhatsminerWeb) => fresh(vec![Question::Api("get_version")]),
        Some(firmware) => fresh(details(firmware)),
    }
}

fn unrecognised(evidence: &Evidence) -> Vec<Question> {
    let http = matches!(
        evidence.replies.get(&Question::Api("version")),
        Some(Reply::Noise(text)) if text.starts_with("HTTP/")
    );
    if http {
        return vec![Question::Epic("/capabilities")];
    }
    if evidence.is_open(Door::Api) && evidence.api("version").is_some() {
        // Newer Whatsminers do not know the old command.
        return vec![Question::Api("get_version"), Question::Api("devdetails")];
    }
    // A page that says nothing may be packed (AxeOS serves it that way) or not be there at all (404): the API is in the
    // clear. A wholly different server costs one round trip each. Those that need a login for the page need one here.
    let plain = evidence.page(ROOT).is_some_and(|page| !matches!(page.status, 401 | 403));
    let mut questions = Vec::new();
    if evidence.is_open(Door::Api) {
        questions.push(Question::Epic("/capabilities"));
    }
    if plain {
        questions.extend(
            ["/api/system/info", "/api/v1/info", "/api/v1/version", "/api/v1/system"].map(Question::Web),
        );
    }
    questions
}

/// What else is worth asking, by firmware.
fn details(firmware: Firmware) -> Vec<Question> {
    use Question::{Api, Epic, Framed, Web};
    match firmware {
        Firmware::WhatsminerV3 => vec![Framed("get.miner.status", Some("summary"))],
        Firmware::WhatsminerV1 | Firmware::WhatsminerV2 => {
            ["get_version", "devdetails", "summary", "status", "get_miner_info"].map(Api).to_vec()
        }
        Firmware::BraiinsOs | Firmware::BraiinsOsOld => {
            vec![Web("/api/v1/version"), GRAPH, Api("devdetails"), Api("summary")]
        }
        Firmware::Vnish => vec![Web("/api/v1/info"), Web("/api/v1/summary"), Web("/api/v1/perf-summary")],
        Firmware::LuxOs => ["config", "power", "summary", "profiles"].map(Api).to_vec(),
        Firmware::BitmainStock | Firmware::Hiveon | Firmware::Msk => ["summary", "stats"].map(Api).to_vec(),
        Firmware::Epic => {
            vec![Epic("/capabilities"), Epic("/summary"), Epic("/network")]
        }
        Firmware::Avalon => ["estats", "summary"].map(Api).to_vec(),
        Firmware::Auradine => ["devdetails", "summary"].map(Api).to_vec(),
        Firmware::Mara => ["summary"].map(Api).to_vec(),
        Firmware::SealMiner => ["stats", "summary"].map(Api).to_vec(),
        Firmware::Proto => ["/api/v1/system", "/api/v1/network", "/api/v1/mining"].map(Web).to_vec(),
        Firmware::AxeOs => vec![Web("/api/system/info")],
        Firmware::Ballast => vec![Web("/api/v1/status")],
        Firmware::Cgminer => vec![Api("summary")],
        Firmware::WhatsminerWeb => Vec::new(),
    }
}

/// What to ask with a session of its own, by firmware.
pub const fn private(firmware: Firmware) -> &'static [&'static str] {
    match firmware {
        Firmware::BraiinsOs => {
            &["/api/v1/miner/details", "/api/v1/miner/stats", "/api/v1/configuration/constraints"]
        }
        Firmware::Vnish => &["/api/v1/autotune/presets"],
        Firmware::BitmainStock => {
            &["/cgi-bin/get_system_info.cgi", "/cgi-bin/get_miner_conf.cgi", "/cgi-bin/stats.cgi"]
        }
        Firmware::Auradine => &["/ipreport", "/mode", "/psu"],
        Firmware::Mara => &["/kaonsu/v1/overview", "/kaonsu/v1/brief", "/kaonsu/v1/network_config"],
        _ => &[],
    }
}
