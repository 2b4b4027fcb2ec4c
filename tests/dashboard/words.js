// What the page says of situations that a site is seldom in. Gives what it says wrongly, in words.
async () => {
  const [{ notes, render, sentence }, { Fleet }, { renderAlarms }] = await Promise.all(["why", "fleet", "signals"].map((name) => import(`./assets/${name}.js`)));
  const found = [];
  const STATES = ["hashing", "asleep", "starting", "unreachable"];
  // A site of pcc and two halls with two miners each; `states` are those of the miners, `change` makes the situation out of a calm one.
  const site = (states, change = () => {}) => {
    const roster = new Fleet({ generation: 1, states: STATES, circuits: [{ name: "pcc" }, { name: "hall-a", parent: 0 }, { name: "hall-b", parent: 0 }],
      miners: [["a1", 1, "", 33500], ["a2", 1, "", 33500], ["b1", 2, "", 33500], ["b2", 2, "", 33500]] });
    roster.take(states.map((name, index) => [index, STATES.indexOf(name), 1000, 1000, 0]));
    const counts = {};
    for (const name of states) counts[name] = (counts[name] ?? 0) + 1;
    const circuit = (name, parent, headroom, draw) => ({ name, parent, headroom_watts: headroom, budget_watts: headroom, setpoint_watts: draw, miners_watts: draw, shortfall_watts: 0,
      binding: `limit-${name}`, cap: { circuit: name, source: `limit-${name}`, words: `rating of ${name}`, until: null }, limits: [] });
    const cycle = {
      fleet: { power_watts: 107000, budget_watts: 108000, surplus_watts: 111000, shortfall_watts: 0, left_watts: 0, left_for_seconds: 0, left_why: null, waiting: null },
      binding: { circuit: "pcc", source: "follow-surplus", class: "surplus", words: "follows the surplus: 111 kW" },
      circuits: [circuit("pcc", null, 108000, 107000), circuit("hall-a", "pcc", 75000, 44100), circuit("hall-b", "pcc", 75000, 62900)],
      classes: [], meters: [], energy: { surplus_joules: 0 },
    };
    const status = { mode: "following", site: "Mill", cycle, signals: null };
    change(cycle, status, ...cycle.circuits);
    // The figure of a tile, and what the page shows, for the moment until the next frame.
    const shown = (place, alarms) => {
      render(status, counts, [], roster, alarms);
      return document.querySelector(place).textContent.replaceAll("\u00a0", " ");
    };
    return { cycle, roster, shown, says: sentence(status, counts, roster).replaceAll("\u00a0", " "), notes: notes(status, counts, [], roster).map(({ words }) => words.replaceAll("\u00a0", " ")) };
  };
  const check = (truth, about) => truth || found.push(typeof about === "string" ? about : JSON.stringify([about.says, about.notes]));
  const all = (name) => [name, name, name, name];
  const run = all("hashing");
  const order = (name, words) => (cycle, status) => {
    status.mode = "limited";
    cycle.binding = { circuit: name, source: "operator", class: "contract", words };
  };
  const stop = (at) => Object.assign(at, { emergency_stop: "open", budget_watts: 0, headroom_watts: 0, miners_watts: 1100, shortfall_watts: 1100 });

  // Beside a limit of a part of the site stand the figures of that part.
  let it = site(run, (cycle, status, root, a) => {
    order("hall-a", "the miners of hall-a are held at 45 kW by the operator's order ut-1")(cycle, status);
    a.budget_watts = a.headroom_watts = 45000;
  });
  check(it.says === "The miners of hall-a are held at 45 kW by the operator's order ut-1; they draw 44.1 kW. The whole fleet draws 107 kW of a surplus of 111 kW.", it);
  it.roster.capacity[1] = it.roster.capacity[0];
  check(it.shown("#sentence").endsWith("they draw 107 kW, of a surplus of 111 kW."), "a circuit with all miners is no part of the site");
  it.roster.capacity[1] = 67000;
  const tile = it.shown(".figure.budget .under");
  check(tile === "at most 45.0 kW of it at hall-a", `an order on a part is the reason for the budget of the whole: ${tile}`);
  it = site(run, (cycle, status, root, a) => {
    Object.assign(status, { mode: "fail-safe" });
    cycle.binding = { circuit: "hall-a", source: "lost-meter:a", class: null, words: "the meter a is lost: its fail-safe value of 45 kW at hall-a holds" };
    a.budget_watts = 45000;
  });
  check(it.says.startsWith("Fail-safe: the meter a is lost: its fail-safe value of 45 kW at hall-a holds; the miners there may draw 45.0 kW and draw 44.1 kW."), it);

  it = site(run);
  check(it.says === "The fleet follows the surplus: 111 kW are left over, and the miners draw 107 kW.", it);

  // What miners draw asleep is no breach.
  const sleeps = (cycle, status, root) => {
    order("pcc", "the miners are held at 0 W by the operator's order pause")(cycle, status);
    for (const at of cycle.circuits) Object.assign(at, { rests: true, budget_watts: 0, miners_watts: at === root ? 1800 : 900, shortfall_watts: at === root ? 1800 : 900 });
    Object.assign(cycle.fleet, { budget_watts: 0, power_watts: 1800, shortfall_watts: 1800 });
  };
  it = site(all("asleep"), sleeps);
  check(it.says === "The miners are held at 0 W by the operator's order pause; all are asleep and draw 1.80 kW so, of a surplus of 111 kW." && !it.notes.length, it);
  check(it.shown(".figure.draw .under") === "all are asleep" && !document.querySelector(".figure.draw [data-level]"), "the draw of those that sleep is red");
  it = site(all("asleep"), (cycle, status, root) => {
    sleeps(cycle, status, root);
    Object.assign(root, { rests: false, miners_watts: 96400 });
    cycle.fleet.power_watts = 96400;
  });
  check(it.says.includes("; they draw 96.4 kW"), `told to sleep is not asleep: ${it.says}`);

  // The cause comes before what follows from it.
  const over = (circuit, watts, at_most) => (cycle) => { cycle.fleet.over_budget = { circuit, watts, at_most }; };
  it = site(run, over("pcc", 1800, false));
  check(it.notes[0] === "1.80 kW over budget", it);
  it = site(run, (cycle, status, root, a, b) => {
    stop(b);
    over("hall-b", 2390, false)(cycle);
  });
  check(it.notes.join() === "Emergency stop of hall-b is open,2.39 kW over the budget of hall-b", it);
  it = site(["hashing", "hashing", "hashing", "unreachable"], over("pcc", 3600, true));
  check(it.notes[0] === "Up to 3.60 kW over budget", it);

  it = site(run, (cycle, status, root) => {
    over("pcc", 6000, false)(cycle);
    root.budget_watts = 0;
  });
  check(it.says.endsWith(", 6.00 kW over budget once all have followed."), it);

  // An order on a part is told while the surplus binds the whole, too.
  it = site(run, (cycle, status, root, a) => {
    status.mode = "limited";
    Object.assign(a, { budget_watts: 45000, cap: { circuit: "hall-a", source: "operator", words: "the miners of hall-a are held at 45 kW by the operator's order ut-1" } });
  });
  check(it.says === "The fleet follows the surplus: 111 kW are left over, and the miners draw 107 kW; the miners of hall-a are held at 45 kW by the operator's order ut-1.", it);

  // The last value of a meter that does not answer is marked as that.
  it = site(run, (cycle, status, root) => {
    Object.assign(root, { meter: "main", power_watts: -4000 });
    cycle.meters.push({ name: "main", status: "unreachable", up: false, age_seconds: 2 });
  });
  check(["grid", "surplus"].every((one) => it.shown(`.figure.${one} .under`).includes("last value of main, 2.0 s old")), `an old value is not marked: ${it.shown(".figure.grid .under")}`);

  // Nothing is well beside what is critical.
  it = site(run);
  check(it.shown("#notes").includes("Nothing else") && !it.shown("#notes", { critical: 1 }).includes("Nothing else"), "nothing needs attention beside a critical alarm");
  renderAlarms([], 0, () => {}, false);
  const none = document.getElementById("alarm-list").textContent;
  check(none.includes("No alarm is raised yet: "), `all is well while the fleet falls: ${none}`);

  // Many that start are named, and what the next one waits for.
  const wakes = (waiting) => (cycle) => Object.assign(cycle.fleet, { power_watts: 1660, left_watts: 90000, waiting });
  it = site(["starting", "starting", "asleep", "asleep"], wakes(null));
  check(it.says.endsWith("draw 1.66 kW; 2 miners are starting."), `who is stopped waits for nobody: ${it.says}`);
  it = site(["starting", "starting", "asleep", "asleep"], wakes({ miner: "b1", words: "waits for 3.27 kW, 0 W are there" }));
  check(it.says.endsWith("draw 1.66 kW; 2 miners are starting, and the next waits for 3.27 kW, 0 W are there."), it);

  // Where no miner can be reached that stands first, and nobody is said to follow anything.
  it = site(all("unreachable"));
  check(it.says === "No miner can be reached; 111 kW are left over.", it);

  // Not all run where some are asleep.
  const free = (cycle) => Object.assign(cycle.binding, { source: "fleet-maximum", class: null });
  it = site(["hashing", "hashing", "hashing", "asleep"], free);
  check(it.says === "No limit holds the fleet back: 1 miner is asleep, and the fleet draws 107 kW.", it);
  it = site(["hashing", "hashing", "hashing", "asleep"], (cycle) => {
    free(cycle);
    cycle.fleet.waiting = { miner: "b2", words: "waits until it has slept for long enough" };
  });
  check(it.says.endsWith("and the fleet draws 107 kW; the next waits until it has slept for long enough."), it);
  it = site(["hashing", "hashing", "hashing", "asleep"], (cycle) => {
    free(cycle);
    cycle.fleet.waiting = { miner: "b2", words: "waits its turn: the fleet rises no faster than raise_rate" };
  });
  check(it.says.endsWith("; the next waits its turn: the fleet rises no faster than raise_rate."), it);
  it = site(["hashing", "starting", "starting", "asleep"], (cycle) => {
    free(cycle);
    wakes({ miner: "b2", words: "waits its turn" })(cycle);
  });
  check(it.says.split("waits").length === 2 && it.says.endsWith("2 miners are starting."), `once is enough: ${it.says}`);
  it = site(["starting", "starting", "starting", "starting"], free);
  check(it.says.startsWith("No limit holds the fleet back: 4 miners are starting, and the fleet draws 107 kW"), it);
  it = site(run, free);
  check(it.says.startsWith("Nothing holds the fleet back: all miners that run are at their most"), it);

  // Who is late is told before they count as silent.
  it = site(run, (cycle) => { cycle.late_miners = 2; });
  check(it.notes.some((words) => words.startsWith("2 miners do not answer for now")), it);

  // What is left says nothing that the figures beside it do not.
  const left = (states, change) => site(states, change).shown("#figures");
  const down = (cycle, status, root) => {
    cycle.fleet.power_watts = 60000;
    Object.assign(cycle.fleet, { budget_watts: 0 });
    root.rests = false;
  };
  let tiles = left(run, down);
  check(tiles.includes("the fleet goes down") && !tiles.includes("more is drawn than may be"), `on its way down: ${tiles}`);
  tiles = left(all("asleep"), (cycle, status, root) => {
    Object.assign(cycle.fleet, { power_watts: 1400, budget_watts: 0 });
    root.rests = true;
  });
  check(tiles.includes("all are asleep") && !tiles.includes("than may be"), `all sleep: ${tiles}`);
  return found;
}
