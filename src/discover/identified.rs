//! A driver that can be asked who the miner is, from one that cannot: the questions are those of discovery.

use async_trait::async_trait;

use super::who::Witness;
use crate::control::snapshot::{MinerStatus, Target};
use crate::miner::identity::Identity;
use crate::miner::{Driver, DriverError, Urgency};

/// A driver, and how its miner is asked who it is.
pub struct Identified {
    driver: Box<dyn Driver>,
    witness: Witness,
}

impl Identified {
    /// Nothing is sent yet.
    pub fn new(driver: Box<dyn Driver>, witness: Witness) -> Self {
        Self { driver, witness }
    }
}

// Whatever the driver can be told, it must be told through this.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Driver for Identified {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        self.driver.read().await
    }

    async fn apply(&mut self, target: Target, urgency: Urgency) -> Result<(), DriverError> {
        self.driver.apply(target, urgency).await
    }

    async fn identify(&mut self) -> Result<Option<Identity>, DriverError> {
        // A driver that knows a way of its own knows better.
        match self.driver.identify().await? {
            Some(identity) => Ok(Some(identity)),
            None => self.witness.ask().await,
        }
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        self.driver.prove_account().await
    }

    async fn keep_alive(&mut self) {
        self.driver.keep_alive().await;
    }

    fn vouched(&mut self, vouched: bool) {
        self.driver.vouched(vouched);
    }

    fn emergency(&mut self, emergency: bool) {
        self.driver.emergency(emergency);
    }

    async fn close(&mut self) {
        self.driver.close().await;
    }
}
