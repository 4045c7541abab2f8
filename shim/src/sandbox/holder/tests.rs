use super::*;

#[test]
fn every_step_has_a_number_of_its_own() {
    for number in (0..16).chain([100, u32::MAX]) {
        assert_eq!(Step::of(number).map(|step| step as u32), Some(number));
    }
    assert_eq!(Step::of(16), None);
}

#[test]
fn the_one_that_has_failed_of_several_is_known() {
    for (number, error) in [(0, libc::EINVAL), (7, libc::ENOENT), (300, libc::EACCES)] {
        assert_eq!(
            child::failure(child::of_several(number, error)),
            (number, error)
        );
    }
}
