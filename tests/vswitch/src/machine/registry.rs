//! The registry: a tree of keys in memory, changed by tests and read by the driver.
//!
//! Paths and names compare without regard to case. Every change tells the notifications that watch the key.

use crate::machine::registry_calls::Watches;
use crate::machine::world::{self, World};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Where the services of a machine are.
pub const SERVICES: &str = r"\Registry\Machine\System\CurrentControlSet\Services";

/// A value with its type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Dword(u32),
    Qword(u64),
    Sz(String),
    MultiSz(Vec<String>),
    Binary(Vec<u8>),
    /// Any type number with any bytes, to try what the driver makes of it.
    Raw(u32, Vec<u8>),
}

impl Value {
    /// The type number and the bytes as the kernel hands them out.
    pub fn encode(&self) -> (u32, Vec<u8>) {
        let text = |s: &str| s.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        match self {
            Self::Sz(s) => (1, text(s)),
            Self::Binary(bytes) => (3, bytes.clone()),
            Self::Dword(n) => (4, n.to_le_bytes().to_vec()),
            Self::MultiSz(all) => (7, all.iter().flat_map(|s| text(s)).chain([0, 0]).collect()),
            Self::Qword(n) => (11, n.to_le_bytes().to_vec()),
            Self::Raw(kind, bytes) => (*kind, bytes.clone()),
        }
    }
}

/// What a change was, in the bits of a notification filter.
pub const CHANGE_NAME: u32 = 1;
pub const CHANGE_LAST_SET: u32 = 4;

/// Canonical path of a key: upper case parts.
pub type Path = Vec<String>;

#[derive(Default)]
struct Key {
    values: BTreeMap<String, Value>,
}

#[derive(Default)]
pub struct Registry {
    keys: Mutex<BTreeMap<Path, Key>>,
    pub(crate) watches: Watches,
}

/// Canonical form of an absolute path.
pub fn canonical(path: &str) -> Path {
    path.split('\\').filter(|part| !part.is_empty()).map(str::to_uppercase).collect()
}

impl Registry {
    pub fn has_key(&self, path: &[String]) -> bool {
        self.keys.lock().contains_key(path)
    }

    pub fn value(&self, path: &[String], name: &str) -> Option<Value> {
        self.keys.lock().get(path)?.values.get(&name.to_uppercase()).cloned()
    }

    /// Names of the keys right below one; `None` if it does not exist.
    pub fn subkeys(&self, path: &[String]) -> Option<Vec<String>> {
        let keys = self.keys.lock();
        let below = keys.keys().filter(|key| key.len() == path.len() + 1 && key.starts_with(path));
        let names = below.filter_map(|key| key.last().cloned()).collect();
        keys.contains_key(path).then_some(names)
    }

    /// Creates the key and all above it; the parents of new ones, for notification.
    fn create(&self, path: &Path) -> Vec<Path> {
        let mut keys = self.keys.lock();
        let mut parents = Vec::new();
        for depth in 1..=path.len() {
            let part = path[..depth].to_vec();
            if let Entry::Vacant(vacant) = keys.entry(part) {
                vacant.insert(Key::default());
                parents.push(path[..depth - 1].to_vec());
            }
        }
        parents
    }
}

impl World {
    /// Creates a key with all keys above it.
    pub fn registry_create(&self, path: &str) {
        for parent in self.registry.create(&canonical(path)) {
            self.registry_changed(&parent, CHANGE_NAME);
        }
    }

    /// Writes a value, creating the key.
    pub fn registry_set(&self, path: &str, name: &str, value: Value) {
        self.registry_create(path);
        let path = canonical(path);
        self.log(|| format!("registry set {name}"));
        if let Some(key) = self.registry.keys.lock().get_mut(&path) {
            key.values.insert(name.to_uppercase(), value);
        }
        self.registry_changed(&path, CHANGE_LAST_SET);
    }

    /// Deletes a value; false if there was none.
    pub fn registry_delete_value(&self, path: &str, name: &str) -> bool {
        let path = canonical(path);
        let gone = self
            .registry
            .keys
            .lock()
            .get_mut(&path)
            .and_then(|k| k.values.remove(&name.to_uppercase()))
            .is_some();
        if gone {
            self.registry_changed(&path, CHANGE_LAST_SET);
        }
        gone
    }

    /// Deletes a key and all below it.
    pub fn registry_delete_key(&self, path: &str) {
        let path = canonical(path);
        self.registry.keys.lock().retain(|key, _| !key.starts_with(&path));
        if let Some((_, parent)) = path.split_last() {
            self.registry_changed(parent, CHANGE_NAME);
        }
    }

    pub fn registry_value(&self, path: &str, name: &str) -> Option<Value> {
        self.registry.value(&canonical(path), name)
    }
}

/// `World::registry_set` in the calling thread's world.
pub fn set(path: &str, name: &str, value: Value) {
    world::current().registry_set(path, name, value);
}

pub fn create_key(path: &str) {
    world::current().registry_create(path);
}

pub fn delete_value(path: &str, name: &str) -> bool {
    world::current().registry_delete_value(path, name)
}

pub fn delete_key(path: &str) {
    world::current().registry_delete_key(path);
}
