//! The gRPC interface of Braiins OS on TCP 50051, as far as other tools read a miner by it: identity, statistics, the
//! power target. It refuses everything else. Services, methods and field numbers are those of the vendor's public API
//! (`braiins.bos.v1`), as public clients use them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{Clock, unix_seconds};

use super::super::door::Door;
use super::super::grpc::{self, Call, Message, Reply, status, text_of};
use super::super::{SimMiner, View, rounded};
use super::replies;

/// The port of the interface.
pub(in super::super) const PORT: u16 = 50_051;
/// Tokens that are known at once; the oldest makes room.
const TOKENS_MAX: usize = 64;

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    tokens: Mutex<Vec<String>>,
}

/// Serves until cancelled.
pub(in super::super) async fn run(door: Door) {
    let service = Service { miner: Arc::clone(door.miner()), clock: door.clock(), tokens: Mutex::default() };
    grpc::run(door, service).await;
}

impl grpc::Service for Service {
    fn call(&self, call: &Call) -> Result<Reply, u8> {
        if call.path == "/braiins.bos.v1.AuthenticationService/Login" {
            return self.login(&call.message);
        }
        let known =
            |token: &String| self.tokens.lock().unwrap_or_else(PoisonError::into_inner).contains(token);
        if !call.authorization.as_ref().is_some_and(known) {
            return Err(status::UNAUTHENTICATED);
        }
        let view = self.miner.view(self.clock.now());
        read(&self.miner, &view, &call.path)
            .map(|message| Reply::new(message.done()))
            .ok_or(status::UNIMPLEMENTED)
    }
}

impl Service {
    fn login(&self, message: &[u8]) -> Result<Reply, u8> {
        let (username, password) = (text_of(message, 1), text_of(message, 2));
        if username.as_ref() != Some(&self.miner.username) || password.as_ref() != Some(&self.miner.password)
        {
            return Err(status::UNAUTHENTICATED);
        }
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX {
            tokens.remove(0);
        }
        let token = format!("{}{}", self.miner.identity.fresh(unix_seconds(), 12), tokens.len());
        tokens.push(token.clone());
        let message = Message::default().text(1, &token).number(2, 3_600).done();
        Ok(Reply { message, authorization: Some(token) })
    }
}

/// The answers. A message that is empty has its defaults.
fn read(miner: &SimMiner, view: &View, path: &str) -> Option<Message> {
    let empty = Message::default;
    let gigahashes = |share: f64| empty().double(1, rounded(view.hashrate.get() / 1e9 * share, 2));
    // Over 5, 15 and 30 s, then over 1, 5, 15 min and longer: field 1 on.
    let rates = |share: f64| (1..=10).fold(empty(), |rates, field| rates.message(field, gigahashes(share)));
    let watts = |watts: f64| empty().number(1, u64::try_from(super::super::whole(watts)).unwrap_or_default());
    let solver = |share: f64| empty().message(1, rates(share)).message(2, gigahashes(share));
    let boards = miner.identity.boards;
    Some(match path.strip_prefix("/braiins.bos.v1.")? {
        "MinerService/GetMinerDetails" => {
            let identity = empty().number(1, 1).text(3, miner.identity.model).text(4, miner.identity.model);
            let version = empty().text(1, replies::VERSION).text(2, "25.11").number(3, 1);
            empty()
                .text(1, &miner.identity.serial)
                .message(2, identity)
                .message(5, version)
                .text(6, "Antminer")
                .text(7, &miner.identity.mac.to_lowercase())
                .number(8, view.uptime.as_secs())
                .message(9, empty().double(1, miner.top_hashrate() / 1e9))
                .number(10, view.mining_time.as_secs())
        }
        "MinerService/GetMinerStats" => {
            let power = empty().message(1, watts(view.power.get()));
            empty().message(1, empty()).message(2, solver(1.0)).message(3, power)
        }
        "MinerService/GetHashboards" => (1..=boards).fold(empty(), |list, board| {
            let degrees = |above: f64| empty().double(1, rounded(25.0 + 40.0 * view.warmth + above, 1));
            let chip = empty().message(3, degrees(10.0));
            list.message(
                1,
                empty()
                    .text(1, &board.to_string())
                    .number(2, 1)
                    .message(3, empty().number(1, u64::from(miner.identity.chips)))
                    .message(6, chip)
                    .message(7, degrees(0.0))
                    .message(8, solver(1.0 / f64::from(boards))),
            )
        }),
        "CoolingService/GetCoolingState" => (0..4).fold(empty(), |state, fan| {
            state.message(1, empty().number(1, fan).number(2, 3_600).double(3, 0.6))
        }),
        "PerformanceService/GetActivePerformanceMode" => {
            let target = watts(replies::target_of(view));
            empty().message(2, empty().message(1, empty().message(1, target)))
        }
        "ConfigurationService/GetMinerConfiguration" => {
            let fans = empty().number(1, 1).message(2, empty());
            let tuner = empty().number(1, 1).number(2, 1).message(3, watts(replies::target_of(view)));
            empty().message(2, fans).message(3, tuner)
        }
        "PoolService/GetPoolGroups" => {
            let shares = empty().number(1, view.mining_time.as_secs() / 6);
            let pool = empty()
                .text(1, "1")
                .text(2, "stratum+tcp://pool.invalid:3333")
                .text(3, "sim.worker")
                .number(4, 1)
                .number(5, 1)
                .number(6, u64::from(view.hashrate.get() > 0.0))
                .message(7, shares);
            let quota = empty().number(1, 1);
            empty().message(1, empty().text(1, "default").message(2, quota).message(4, pool))
        }
        "ActionsService/GetLocateDeviceStatus" => empty(),
        _ => return None,
    })
}
