//! Phone numbers that Meta writes differently from people.

/// The digits in the one form that stands for all in which this phone's number is written. In three countries people write, or
/// once wrote, mobile numbers otherwise than WhatsApp does; the forms differ only by digits that no other number has there.
pub fn same_number(digits: &str) -> String {
    brazilian(digits)
        .or_else(|| mexican(digits))
        .or_else(|| argentine(digits))
        .unwrap_or_else(|| digits.to_owned())
}

// Mobile numbers got a ninth digit before the eight they had, which began with 6 to 9. Accounts from before keep the eight.
fn brazilian(digits: &str) -> Option<String> {
    let national = digits.strip_prefix("55").filter(|national| national.len() == 11)?;
    let (area, number) = national.split_at_checked(2)?;
    let eight = number.strip_prefix('9').filter(|eight| eight.starts_with(['6', '7', '8', '9']))?;
    Some(format!("55{area}{eight}"))
}

// Mobile numbers had a 1 after the country until 2019; area codes do not begin with it.
fn mexican(digits: &str) -> Option<String> {
    let national = digits.strip_prefix("521").filter(|national| national.len() == 10)?;
    Some(format!("52{national}"))
}

// A mobile number has a 9 after the country when it is called from abroad, and a 15 after its area code when it is called
// from within. Area code and number have ten digits together.
fn argentine(digits: &str) -> Option<String> {
    let national = digits.strip_prefix("54")?;
    match national.len() {
        11 => national.strip_prefix('9').map(|ten| format!("54{ten}")),
        12 | 13 => {
            let rest = if national.len() == 13 { national.strip_prefix('9')? } else { national };
            let lengths = if rest.starts_with("11") { 2..=2 } else { 3..=4 };
            let (area, number) = lengths.into_iter().find_map(|length| {
                let (area, behind) = rest.split_at_checked(length)?;
                behind.strip_prefix("15").map(|number| (area, number))
            })?;
            Some(format!("54{area}{number}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_one_number_are_the_same_and_those_of_others_are_not() {
        for (one, other) in [
            ("5511987654321", "551187654321"),
            ("5215512345678", "525512345678"),
            ("5491123456789", "541123456789"),
            ("5491123456789", "54111523456789"),
            ("5492214567890", "54221154567890"),
            ("5492944123456", "54294415123456"),
            ("5492214567890", "549221154567890"),
        ] {
            assert_eq!(same_number(one), same_number(other), "{one} {other}");
        }
        for (one, other) in [
            ("5511987654321", "551197654321"),
            ("5511912345678", "551112345678"),
            ("5215512345678", "5215512345679"),
            ("5491123456789", "541123456780"),
            ("491701234567", "4991701234567"),
            ("521123456789", "52123456789"),
        ] {
            assert_ne!(same_number(one), same_number(other), "{one} {other}");
        }
        assert_eq!(same_number("491701234567"), "491701234567");
    }
}
