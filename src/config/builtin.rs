//! The models and meter profiles that come with the program: the files of `config/models/` and `config/meters/`.

use std::path::Path;

use super::diagnostic::{ConfigErrors, Diagnostic, Report};
use super::keys::{self, Section};
use super::models::{self, Model};
use super::profiles;
use super::reader::Table;
use crate::meter::profile::Profile;

macro_rules! embedded {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../config/", $folder, "/", $name, ".toml")))),+]
    };
}

/// Miner models, by file name.
const MODELS: &[(&str, &str)] =
    embedded!("models": "m30s-plus-plus", "m60s", "s19-pro-hydro", "s19-xp", "s19k-pro");

/// Meter profiles, by file name.
const METERS: &[(&str, &str)] = embedded!(
    "meters": "abb-b23-b24", "abb-m4m20", "accuenergy-acuvim-ii", "acrel-adw300", "carlo-gavazzi-em24-e1",
    "carlo-gavazzi-em24-rs485", "carlo-gavazzi-em340", "carlo-gavazzi-em530", "chint-dtsu666",
    "comap-intelligen-nt", "deepsea-gencomm", "deye-3p", "eastron-sdm120", "eastron-sdm630",
    "epever-tracer", "goodwe-et", "growatt-hybrid", "huawei-smartlogger", "huawei-sun2000",
    "iammeter-wem3080t", "janitza-umg511", "janitza-umg604", "janitza-umg96rm", "lovato-dmg610",
    "satec-pm180", "schneider-iem3000", "schneider-ion7650", "schneider-pm8000", "shelly-pro-3em",
    "siemens-pac2200", "siemens-pac3200", "sma-data-manager", "sma-home-manager", "socomec-countis",
    "solis-hybrid", "sungrow-ihomemanager", "sungrow-logger", "sungrow-logger-pv", "sungrow-sh", "victron-gx", "victron-gx-32bit",
    "victron-gx-battery", "victron-gx-pv",
);

/// The names of all built-in miner models.
pub fn model_names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|(name, _)| *name)
}

/// The names of all built-in meter profiles.
pub fn profile_names() -> impl Iterator<Item = &'static str> {
    METERS.iter().map(|(name, _)| *name)
}

/// The built-in miner model of this name.
pub fn model(name: &str) -> Option<Model> {
    let (name, text) = MODELS.iter().find(|(known, _)| *known == name)?;
    parse_model(name, text, Path::new(name)).ok().map(|(model, _)| model)
}

/// The built-in meter profile of this name.
pub fn profile(name: &str) -> Option<Profile> {
    let (name, text) = METERS.iter().find(|(known, _)| *known == name)?;
    parse_profile(name, text, Path::new(name)).ok().map(|(profile, _)| profile)
}

/// Reads a miner model in the shape of the files in `config/models/`; its name is not in the file.
///
/// # Errors
/// Every mistake in the text.
pub fn parse_model(name: &str, text: &str, path: &Path) -> Result<(Model, Vec<Diagnostic>), ConfigErrors> {
    whole_file(text, path, &keys::MODEL, |table| models::model(name, table))
}

/// Reads a meter profile in the shape of the files in `config/meters/`; its name is not in the file.
///
/// # Errors
/// Every mistake in the text.
pub fn parse_profile(
    name: &str,
    text: &str,
    path: &Path,
) -> Result<(Profile, Vec<Diagnostic>), ConfigErrors> {
    whole_file(text, path, &keys::PROFILE, |table| profiles::profile(name, table))
}

fn whole_file<T>(
    text: &str,
    path: &Path,
    section: &'static Section,
    read: impl FnOnce(Table<'_>) -> T,
) -> Result<(T, Vec<Diagnostic>), ConfigErrors> {
    let report = Report::new(text, path);
    let document = super::syntax(text, &report);
    let value = document.as_ref().map(|document| {
        let span = document.span().into();
        read(Table::new(&report, document.get_ref(), section, String::new(), span))
    });
    let warnings = report.finish()?;
    value.map(|value| (value, warnings)).ok_or_else(|| ConfigErrors::of_file(path, "cannot be read", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_model_and_profile_is_sound() {
        for (name, text) in MODELS {
            let (model, warnings) =
                parse_model(name, text, Path::new(name)).unwrap_or_else(|e| panic!("{e}"));
            assert!(warnings.is_empty(), "{warnings:?}");
            assert_eq!(model.name, *name);
        }
        for (name, text) in METERS {
            let (profile, warnings) =
                parse_profile(name, text, Path::new(name)).unwrap_or_else(|e| panic!("{e}"));
            assert!(warnings.is_empty(), "{warnings:?}");
            assert!(!profile.power.terms.is_empty());
        }
    }

    #[test]
    fn every_file_in_the_folders_is_embedded() {
        for (folder, embedded) in [("models", MODELS), ("meters", METERS)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(folder);
            let mut files: Vec<String> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            files.sort();
            let names: Vec<&str> = embedded.iter().map(|(name, _)| *name).collect();
            assert_eq!(files, names);
        }
    }
}
