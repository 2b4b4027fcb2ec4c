//! The page in a browser. Skipped where there is no Chromium: set `BALLAST_TEST_BROWSER` to name one.

use std::process::Command;

use super::{assess, folder};

/// Says what the browser made of a page, to the page around it.
const PROBE: &str = "<script>addEventListener('load',()=>{const r=document.documentElement,all=s=>[...document.querySelectorAll(s)];\
const cut=t=>{const a=t.getBoundingClientRect(),b=t.ownerSVGElement.getBoundingClientRect();\
return getComputedStyle(t).display!=='none'&&(a.left<b.left-1||a.right>b.right+1||a.top<b.top-1||a.bottom>b.bottom+1)};\
parent.postMessage({window:innerWidth,page:r.scrollWidth,\
charts:all('svg').filter(s=>s.getBoundingClientRect().width>200).length,\
cut:all('svg text').filter(cut).map(t=>t.textContent).join('|')},'*')})</script>";

/// A page around it, since no window is as narrow as a telephone.
fn frame(width: u32) -> String {
    format!(
        "<!doctype html><script>addEventListener('message',e=>Object.assign(document.documentElement.dataset,e.data))</script>\
         <iframe src=\"probed.html\" width=\"{width}\" height=\"2000\" style=\"border:0\"></iframe>"
    )
}

/// A browser that starts.
fn browser() -> Option<String> {
    let named = std::env::var("BALLAST_TEST_BROWSER").ok();
    let all = named.into_iter().chain(["chromium", "chromium-browser", "google-chrome"].map(String::from));
    all.into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()))
}

#[test]
fn the_page_fits_a_telephone_and_a_desk_and_no_label_is_cut() {
    let Some(browser) = browser() else {
        eprintln!("SKIPPED: there is no chromium to render the page in");
        return;
    };
    let folder = folder("browser");
    let mut traces = Vec::new();
    for (name, watts) in
        [("north.csv", 1_250_000.0), ("a-site-with-quite-a-long-name-2025-export.csv", 3210.0)]
    {
        let mut text = String::from("time,power_w\n");
        for at in 0..400 * 24_i32 {
            let sun = (f64::from(at % 24 - 6) / 12.0 * std::f64::consts::PI).sin().max(0.0);
            let cloud = 0.7 + 0.3 * (f64::from(at / 24) * 2.3 + f64::from(at) * 0.9).sin();
            text.push_str(&format!("{},{:.2}\n", 1_735_689_600 + i64::from(at) * 3600, watts * sun * cloud));
        }
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        traces.push(path.to_str().unwrap().to_owned());
    }
    let page = folder.join("page.html");
    let _ = std::fs::remove_file(&page);
    assert!(assess(&[&traces[0], &traces[1], "--html", page.to_str().unwrap()]).status.success());
    let probed = folder.join("probed.html");
    std::fs::write(
        &probed,
        std::fs::read_to_string(&page).unwrap().replace("</body>", &format!("{PROBE}</body>")),
    )
    .unwrap();
    let frame_file = folder.join("frame.html");
    for width in [390, 1280] {
        std::fs::write(&frame_file, frame(width)).unwrap();
        let output = Command::new(&browser)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .args([
                "--disable-component-update",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--enable-logging=stderr",
            ])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .args(["--window-size=1400,2100", "--virtual-time-budget=5000", "--hide-scrollbars"])
            .arg("--dump-dom")
            .arg(format!("file://{}", frame_file.display()))
            .output()
            .unwrap();
        let page = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !page.contains("data-window") {
            eprintln!("SKIPPED: {browser} does not render here");
            return;
        }
        let said = |name: &str| {
            let rest = page.split_once(&format!("data-{name}=\"")).unwrap().1;
            rest.split_once('"').unwrap().0.to_owned()
        };
        assert_eq!(said("window"), width.to_string());
        assert_eq!(said("page"), width.to_string(), "it is wider than the window");
        assert_eq!(said("charts"), "6");
        assert_eq!(said("cut"), "", "labels reach out of their charts at {width}");
        let console = String::from_utf8_lossy(&output.stderr);
        assert!(!console.contains("CONSOLE"), "{console}");
    }
}
