//! `--on`: where an app may run, in one line: `region=fr,operator!=acct_…,tag=ssd,price<0.05`.

use allod_state::app::Constraints;
use allod_state::{AccountId, Credits};

use super::extension::Spread;
use super::{Lowered, quantity};

/// What may stand in a term.
const TERMS: &str = "write terms with commas between them, such as region=eu, tag=ssd, operator=ACCOUNT, operator!=ACCOUNT, spread=operator, reputation>0.5, attested>7d or price<0.05";

impl Lowered {
    /// Lets every service run only where all of these terms hold, besides what the file says.
    ///
    /// # Errors
    /// Where a term is none; the text says what to write.
    pub fn on(&mut self, terms: &str) -> Result<(), String> {
        let asked = parse(terms)?;
        for demand in self.demands.values_mut() {
            let own = &mut demand.constraints;
            if !asked.regions.is_empty() {
                own.regions.clone_from(&asked.regions);
            }
            if !asked.operators_allowed.is_empty() {
                own.operators_allowed.clone_from(&asked.operators_allowed);
            }
            own.operators_denied.extend(&asked.operators_denied);
            own.tags.extend(asked.tags.iter().cloned());
            let prices = [own.price_per_hour_max, asked.price_per_hour_max];
            own.price_per_hour_max = prices.into_iter().flatten().min();
            own.reputation_ppm_min = own.reputation_ppm_min.max(asked.reputation_ppm_min);
            own.attested_ms_min = own.attested_ms_min.max(asked.attested_ms_min);
            for (own, asked) in [
                (&mut own.replicas_per_node_max, asked.replicas_per_node_max),
                (
                    &mut own.replicas_per_operator_max,
                    asked.replicas_per_operator_max,
                ),
                (
                    &mut own.replicas_per_region_max,
                    asked.replicas_per_region_max,
                ),
            ] {
                *own = asked.or(*own);
            }
        }
        Ok(())
    }
}

fn parse(terms: &str) -> Result<Constraints, String> {
    let mut all = Constraints::default();
    for term in terms.split(',').map(str::trim) {
        let at = term.find(['!', '=', '<', '>']);
        let (key, rest) = term.split_at(at.unwrap_or(term.len()));
        let operator_end = rest.find(|sign| !"!=<>".contains(sign));
        let (sign, value) = rest.split_at(operator_end.unwrap_or(rest.len()));
        let (key, value) = (key.trim(), value.trim());
        match (key, sign) {
            _ if value.is_empty() => return Err(format!("`{term}` is no term: {TERMS}")),
            ("region", "=") => drop(all.regions.insert(read(term, value)?)),
            ("tag", "=") => drop(all.tags.insert(read(term, value)?)),
            ("operator", "=") => drop(all.operators_allowed.insert(account(term, value)?)),
            ("operator", "!=") => drop(all.operators_denied.insert(account(term, value)?)),
            ("spread", "=") => Spread::of(value)?.bound(&mut all, 1),
            ("price", "<" | "<=") => {
                let micro = quantity::price_micro_per_hour(value)?;
                // Prices are whole millionths: less than one is at most the one before it.
                let micro = i128::from(micro) - i128::from(sign == "<");
                all.price_per_hour_max = Some(Credits::from_micro(micro.max(0)));
            }
            ("reputation", ">" | ">=") => {
                // Reputations are whole millionths as well.
                let more = u32::from(sign == ">");
                all.reputation_ppm_min = Some(quantity::share_ppm(value)?.saturating_add(more));
            }
            ("attested", ">" | ">=") => {
                // Nobody means a millisecond.
                all.attested_ms_min = Some(quantity::duration_ms(value)?);
            }
            _ => return Err(format!("`{term}` is no term: {TERMS}")),
        }
    }
    Ok(all)
}

fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
    term: &str,
    value: &str,
) -> Result<T, String> {
    value.parse().map_err(|error| format!("`{term}`: {error}"))
}

fn account(term: &str, value: &str) -> Result<AccountId, String> {
    let account = value.parse();
    account.map_err(|_| {
        format!("`{term}` names no account: write its id, as `allod account` shows it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_spread_by_what_is_named() {
        let all = parse("spread=operator,spread=region").unwrap();
        assert_eq!(all.replicas_per_operator_max, Some(1));
        assert_eq!(all.replicas_per_region_max, Some(1));
        assert_eq!(all.replicas_per_node_max, None);
        let refused = parse("spread=planet").unwrap_err();
        assert!(refused.contains("node, operator or region"), "{refused}");
    }

    #[test]
    fn terms_say_where() {
        let (one, two) = (AccountId([1; 32]), AccountId([2; 32]));
        let terms =
            format!("region=fr, region=eu-west,tag=ssd,operator={one},operator!={two},price<0.05");
        let all = parse(&terms).unwrap();
        let words = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
        let expected = Constraints {
            regions: words(&["fr", "eu-west"]),
            tags: words(&["ssd"]),
            operators_allowed: [one].into(),
            operators_denied: [two].into(),
            price_per_hour_max: Some(Credits::from_micro(49_999)),
            ..Constraints::default()
        };
        assert_eq!(all, expected);
        let most = parse("price<=0.05").unwrap().price_per_hour_max;
        assert_eq!(most, Some(Credits::from_micro(50_000)));
        let least = |terms| parse(terms).unwrap().reputation_ppm_min;
        assert_eq!(least("reputation>0.5"), Some(500_001));
        assert_eq!(least("reputation>=0.75"), Some(750_000));
        let seen = |terms| parse(terms).unwrap().attested_ms_min;
        assert_eq!(seen("attested>7d"), Some(604_800_000));
        assert_eq!(seen("attested>=12h"), Some(43_200_000));
    }

    #[test]
    fn what_is_no_term_is_told() {
        for (terms, told) in [
            ("", "is no term"),
            ("region", "is no term"),
            ("region!=fr", "is no term"),
            ("region=", "is no term"),
            ("colour=red", "`colour=red` is no term"),
            ("region=fr,,tag=a", "is no term"),
            ("operator=bob", "names no account"),
            ("price<much", "price"),
            ("price>1", "is no term"),
            ("reputation>1.5", "from 0 to 1"),
            ("reputation>good", "from 0 to 1"),
            ("reputation<0.5", "is no term"),
            ("attested>7", "is not a duration"),
            ("attested<7d", "is no term"),
        ] {
            let error = parse(terms).unwrap_err();
            assert!(error.contains(told), "{terms}: {error}");
        }
    }
}
