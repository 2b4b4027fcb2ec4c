//! Whoever reads what the package installs, and follows a link in it, finds what it leads to: looked up in the package's own list
//! of files, without building it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The files of the package, by the place where they are installed. Those that are built first have no source here.
fn installed(root: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let mut all = BTreeMap::new();
    for asset in assets {
        let [from, to] = [0, 1].map(|part: usize| asset[part].as_str().unwrap());
        let sources: Vec<PathBuf> = match from.split_once('*') {
            _ if from.starts_with("target/") => continue,
            None => vec![root.join(from)],
            Some((folder, end)) => fs::read_dir(root.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_file() && path.to_str().unwrap().ends_with(end))
                .collect(),
        };
        assert!(!sources.is_empty(), "{from} is in the package and nowhere here");
        for source in sources {
            assert!(source.is_file(), "{} is in the package and nowhere here", source.display());
            let name = source.file_name().unwrap();
            let place = if to.ends_with('/') { Path::new(to).join(name) } else { PathBuf::from(to) };
            all.insert(place, source);
        }
    }
    all
}

/// The links of a page that lead to other files. What is shown as code is none.
fn links(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    for prose in text.split("```").step_by(2) {
        let ends = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        all.extend(ends.filter(|link| !link.contains("://") && !link.starts_with(['#', '/'])));
    }
    all.into_iter().filter(|link| !link.starts_with("mailto:") && !link.contains(' ')).collect()
}

/// A place without `..` in it; `None` for one above the root.
fn place(folder: &Path, link: &str) -> Option<PathBuf> {
    let mut at = PathBuf::new();
    for part in folder.join(link.split('#').next().unwrap()).components() {
        match part {
            Component::ParentDir => at.pop().then_some(())?,
            Component::Normal(name) => at.push(name),
            _ => {}
        }
    }
    Some(at)
}

#[test]
fn every_link_in_the_packaged_pages_leads_to_something_that_is_packaged() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = installed(root);
    let mut there: BTreeSet<&Path> = installed.keys().map(PathBuf::as_path).collect();
    there.extend(installed.keys().flat_map(|place| place.ancestors().skip(1)));
    let (mut followed, mut dead) = (0, Vec::new());
    for (at, source) in &installed {
        if source.extension().is_none_or(|end| end != "md") {
            continue;
        }
        let text = fs::read_to_string(source).unwrap();
        for link in links(&text) {
            followed += 1;
            let to = place(at.parent().unwrap(), link);
            if !to.is_some_and(|to| there.contains(to.as_path())) {
                dead.push(format!("{}: {link}", at.display()));
            }
        }
    }
    assert!(followed > 200, "only {followed} links were found");
    assert!(dead.is_empty(), "{} links lead nowhere once installed: {dead:#?}", dead.len());
    // What a service says where more is to be read.
    let told = fs::read_to_string(root.join("packaging/ballast.toml")).unwrap();
    for word in told.split([' ', '\n', ';']).filter_map(|word| word.strip_prefix("/usr/share/doc/")) {
        let to = Path::new("usr/share/doc").join(word);
        assert!(there.contains(to.as_path()), "{} is not installed", to.display());
    }
}

#[test]
fn links_are_found_in_prose_and_nowhere_else() {
    let text = "[a](b.md#c) and [d](https://x/y), [e](#f)\n```toml\n[g](h.md)\n```\n[i](../j)";
    assert_eq!(links(text), ["b.md#c", "../j"]);
    assert_eq!(place(Path::new("usr/share"), "../j#k"), Some(PathBuf::from("usr/j")));
    assert_eq!(place(Path::new("usr"), "../../j"), None);
}
