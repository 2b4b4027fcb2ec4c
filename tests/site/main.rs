//! What a site is told and tells: its configuration, its metrics, its pages, its unit.
#![cfg(test)]

mod alarms;
mod api;
mod config;
mod config_guide;
mod config_law;
mod config_schema;
mod config_warnings;
mod demo_guide;
mod heartbeat;
mod installed;
mod metrics;
mod metrics_promtool;
#[path = "../shared/metrics_sample.rs"]
mod metrics_sample;
mod monitoring;
mod package_links;
mod packaged;
mod systemd;
mod web;
mod words;
