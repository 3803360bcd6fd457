//! Which config files a house is started from.

use std::path::{Path, PathBuf};

/// Config files of the three daemons, with places to fill in (see [`crate::render`]).
#[derive(Clone, Debug)]
pub struct Files {
    pub devnet: PathBuf,
    pub manager: PathBuf,
    pub worker: PathBuf,
}

impl Files {
    /// Those of `make demo`, in the checkout.
    pub fn demo(checkout: &Path) -> Self {
        let examples = checkout.join("config-examples");
        Self {
            devnet: examples.join("devnet.demo.toml"),
            manager: examples.join("sector-manager.demo.cfg"),
            worker: examples.join("worker.demo.toml"),
        }
    }

    /// The demo's chain, and daemons with nothing to do.
    pub fn idle(checkout: &Path) -> Self {
        let config = checkout.join("tests/e2e/config");
        Self {
            manager: config.join("manager.idle.cfg"),
            worker: config.join("worker.idle.toml"),
            ..Self::demo(checkout)
        }
    }

    /// Those of the scenario tests: PC2 and C2 behind gates.
    pub fn gated() -> Self {
        Self {
            manager: config("manager.cfg"),
            worker: config("worker.toml"),
            ..Self::demo(&checkout())
        }
    }

    /// The same, and a manager that has a key store with its password in a file.
    pub fn own_keys() -> Self {
        Self {
            manager: config("manager.own-keys.cfg"),
            ..Self::gated()
        }
    }

    /// The same, and both take deals from the manager's own queue.
    pub fn deals() -> Self {
        Self {
            manager: config("manager.deals.cfg"),
            worker: config("worker.deals.toml"),
            ..Self::gated()
        }
    }

    /// Sectors with synthetic proofs, and the stage that makes them behind a gate.
    pub fn synthetic() -> Self {
        Self {
            manager: config("manager.synthetic.cfg"),
            worker: config("worker.synthetic.toml"),
            ..Self::gated()
        }
    }

    /// Two threads with PC2 and C2 behind gates, two miners, and a chain that is not the house's.
    pub fn elsewhere() -> Self {
        Self {
            manager: config("manager.elsewhere.cfg"),
            worker: config("worker.elsewhere.toml"),
            ..Self::gated()
        }
    }

    /// Several managers on one database, and a worker that knows all of them.
    pub fn shared() -> Self {
        Self {
            manager: config("manager.shared.cfg"),
            worker: config("worker.shared.toml"),
            ..Self::gated()
        }
    }

    /// A manager whose sectors workers prove, and such a worker with its processor behind a gate.
    pub fn posters() -> Self {
        Self {
            devnet: config("devnet.posters.toml"),
            manager: config("manager.posters.cfg"),
            worker: config("worker.poster.toml"),
        }
    }

    /// Several managers that prove what three miners have in three stores, and no worker; on a
    /// chain of this policy.
    pub fn campaign(policy: &Path) -> Self {
        Self {
            devnet: policy.to_owned(),
            manager: config("manager.campaign.cfg"),
            ..Self::gated()
        }
    }

    /// The same with another worker, and a chain whose proving period is a day of 2,880 epochs:
    /// what befalls the sectors on their way meets no window of theirs.
    pub fn day(worker: &str) -> Self {
        Self {
            devnet: config("devnet.day.toml"),
            worker: config(worker),
            ..Self::gated()
        }
    }
}

fn config(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(file)
}

/// The checkout that this crate was compiled in.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
