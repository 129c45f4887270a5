//! Settings for calls to one service: `[call.NAME]`, `[breaker.NAME]`, `[balance.NAME]`.
//!
//! A key that is not set there has the value of `[call]`, `[breaker]` or `[balance]`, whichever source sets that last.

use std::collections::BTreeMap;

use super::format::{FieldList as _, Visitor};
use crate::balance::BalanceSettings;
use crate::breaker::BreakerSettings;
use crate::call::CallSettings;

/// Settings for calls to one service.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CalleeSettings {
    /// `[call.NAME]`.
    pub call: CallSettings,
    /// `[breaker.NAME]`.
    pub breaker: BreakerSettings,
    /// `[balance.NAME]`.
    pub balance: BalanceSettings,
}

/// The settings of services that have their own.
pub(super) type Callees = BTreeMap<String, CalleeSettings>;

impl CalleeSettings {
    pub(super) fn visit(&mut self, callee: &str, visitor: &mut dyn Visitor) {
        visitor.visit_section(&format!("call.{callee}"));
        self.call.visit(visitor);
        visitor.visit_section(&format!("breaker.{callee}"));
        self.breaker.visit(visitor);
        visitor.visit_section(&format!("balance.{callee}"));
        self.balance.visit(visitor);
    }
}
