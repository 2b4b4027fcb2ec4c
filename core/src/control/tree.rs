//! The circuit tree, prepared for walking: who is above whom, and which miners hang where.

use crate::control::site::{CircuitId, Site};

/// Derived from a [`Site`] once; every list is in the order of the site's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// For each circuit: itself, its parent, and so on to the root.
    paths: Vec<Vec<usize>>,
    /// For each circuit: the circuits that it feeds directly.
    children: Vec<Vec<usize>>,
    /// For each circuit: the nearest dedicated, metered circuit at or above it.
    dedicated: Vec<Option<usize>>,
    /// For each circuit: whether a dedicated, metered circuit lies strictly above it.
    covered: Vec<bool>,
}

impl Tree {
    /// Walks the site's circuits; parents come before children there.
    pub fn new(site: &Site) -> Self {
        let count = site.circuits.len();
        let mut paths: Vec<Vec<usize>> = Vec::with_capacity(count);
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut dedicated: Vec<Option<usize>> = Vec::with_capacity(count);
        let mut covered = Vec::with_capacity(count);
        for (index, circuit) in site.circuits.iter().enumerate() {
            let mut path = vec![index];
            let above = circuit.parent.and_then(|parent| paths.get(parent.0));
            path.extend(above.into_iter().flatten());
            paths.push(path);
            let parent = circuit.parent.map(|parent| parent.0);
            if let Some(siblings) = parent.and_then(|parent| children.get_mut(parent)) {
                siblings.push(index);
            }
            let above = parent.and_then(|parent| dedicated.get(parent).copied().flatten());
            covered.push(above.is_some());
            dedicated.push(if circuit.dedicated && circuit.meter.is_some() { Some(index) } else { above });
        }
        Self { paths, children, dedicated, covered }
    }

    /// Of each circuit, whether it is so there or above.
    pub fn below(&self, own: &[bool]) -> Vec<bool> {
        let here = |circuit: usize| self.path(circuit).iter().any(|&above| own.get(above) == Some(&true));
        (0..own.len()).map(here).collect()
    }

    /// A circuit and all above it, the root last. Empty for an unknown id.
    pub fn path(&self, circuit: usize) -> &[usize] {
        self.paths.get(circuit).map_or(&[], Vec::as_slice)
    }

    /// The circuits that this one feeds directly.
    pub fn children(&self, circuit: usize) -> &[usize] {
        self.children.get(circuit).map_or(&[], Vec::as_slice)
    }

    /// The nearest dedicated, metered circuit at or above this one.
    pub fn dedicated(&self, circuit: usize) -> Option<usize> {
        self.dedicated.get(circuit).copied().flatten()
    }

    /// Whether a dedicated, metered circuit lies strictly above this one.
    pub fn covered(&self, circuit: usize) -> bool {
        self.covered.get(circuit).copied().unwrap_or(false)
    }

    /// Adds a value that belongs to a circuit to it and to every circuit above.
    pub fn add(&self, sums: &mut [f64], circuit: CircuitId, value: f64) {
        for &above in self.path(circuit.0) {
            if let Some(sum) = sums.get_mut(above) {
                *sum += value;
            }
        }
    }

    /// For each circuit, the largest of the values of it and of all below it.
    pub fn largest(&self, values: &[f64]) -> Vec<f64> {
        let mut largest = values.to_vec();
        for (circuit, value) in values.iter().enumerate() {
            for &above in self.path(circuit) {
                if let Some(largest) = largest.get_mut(above) {
                    *largest = largest.max(*value);
                }
            }
        }
        largest
    }

    /// The least of the values of a circuit and every circuit above.
    pub fn least(&self, values: &[f64], circuit: usize) -> f64 {
        self.path(circuit)
            .iter()
            .filter_map(|&above| values.get(above))
            .fold(f64::INFINITY, |least, &value| least.min(value))
    }

    /// All circuits, those furthest from the root first.
    pub fn deepest_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.paths.len()).collect();
        order.sort_by_key(|&circuit| std::cmp::Reverse(self.depth(circuit)));
        order
    }

    /// How deep a circuit lies; the root is 1.
    pub fn depth(&self, circuit: usize) -> usize {
        self.path(circuit).len()
    }
}
