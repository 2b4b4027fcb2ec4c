//! Puts one metric with its samples together.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::catalogue::Definition;
use super::counters::CommandDurations;

/// Pairs the names of labels with their values.
fn labels(names: &[&str], values: &[&str]) -> Vec<LabelPair> {
    let pairs = names.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    pairs.collect()
}

/// A number of things, as the text format carries it.
#[expect(
    clippy::cast_precision_loss,
    reason = "the text format has floating-point numbers only, exact up to 2^53"
)]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

/// A metric that is being filled.
pub(super) struct Family {
    definition: &'static Definition,
    metrics: Vec<Metric>,
}

impl Family {
    pub(super) fn new(definition: &'static Definition) -> Self {
        Self::with_capacity(definition, 1)
    }

    pub(super) fn with_capacity(definition: &'static Definition, samples: usize) -> Self {
        Self { definition, metrics: Vec::with_capacity(samples) }
    }

    /// A metric with one sample and no labels.
    pub(super) fn single(definition: &'static Definition, value: f64) -> MetricFamily {
        let mut family = Self::new(definition);
        family.add(&[], value);
        family.finish()
    }

    /// Adds a sample; `values` are those of the definition's labels, in its order.
    pub(super) fn add(&mut self, values: &[&str], value: f64) {
        let mut metric = Metric::from_label(labels(self.definition.labels, values));
        if self.definition.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// Adds a histogram.
    pub(super) fn add_histogram(&mut self, values: &[&str], durations: &CommandDurations) {
        let buckets = durations.buckets.iter().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(durations.count);
        histogram.set_sample_sum(durations.sum);
        let mut metric = Metric::from_label(labels(self.definition.labels, values));
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    pub(super) fn finish(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.definition.name.to_owned());
        family.set_help(self.definition.help.to_owned());
        family.set_field_type(self.definition.kind);
        family.set_metric(self.metrics);
        family
    }
}
