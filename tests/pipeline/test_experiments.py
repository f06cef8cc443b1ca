"""The table of experiments: names are shortened if they remain unambiguous."""

from pipeline.experiments import compact

HEADER = "Experiment,rev,typ,State,painted_rate,params.yaml:train.epochs,methods.cut.lambda_nce"


def test_table_has_short_names_and_names_the_baseline():
    rows = [",main,baseline,,0.5,,1.0", "long,1234567,branch_base,Success,0.75,2,1.0"]
    assert compact("\n".join([HEADER, *rows])).splitlines() == [
        "Experiment  State    painted_rate  train.epochs  lambda_nce",
        "main        -        0.5           -             1.0",
        "long        Success  0.75          2             1.0",
    ]


def test_same_parameter_of_two_methods_keeps_its_full_name():
    header = compact("Experiment,rev,methods.cut.lambda_nce,methods.dcl.lambda_nce\na,1,2,3").splitlines()[0]
    assert header.split() == ["Experiment", "methods.cut.lambda_nce", "methods.dcl.lambda_nce"]


def test_no_experiment_is_a_hint():
    assert compact("rev,typ\nworkspace,baseline\n").startswith("no experiments")
