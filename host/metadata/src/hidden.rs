//! Query parameters that must not reach a log.

use std::fmt;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A parameter whose value is not printed: tokio-postgres logs parameters with `Debug` at debug level.
pub(crate) struct Hidden<T>(pub(crate) T);

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

impl<T: ToSql> ToSql for Hidden<T> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        T::accepts(ty)
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_parameter_is_not_printed() {
        let parameters: &[&(dyn ToSql + Sync)] = &[&Hidden("hunter2"), &Hidden(Some(vec![1u8]))];
        assert_eq!(format!("{parameters:?}"), "[<hidden>, <hidden>]");
    }
}
