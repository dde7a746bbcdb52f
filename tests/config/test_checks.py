"""Combinations that are well typed and cannot work are refused before anything starts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from terrablate.config import Config
from terrablate.errors import ConfigError

BANDS = "B01, B02, B03, B04, B05, B06, B07, B08, B09, B10, B11, B12, B8A"
Compose = Callable[..., Config]

REFUSED = {
    "data.bands=[B04,B99]": f"data.bands: synthetic has no band B99; allowed: all, rgb or some of {BANDS}",
    "data.bands=b04": f"data.bands: synthetic has no band b04; allowed: all, rgb or some of {BANDS}",
    "data.bands=[]": f"data.bands=[]: no band is named; allowed: all, rgb or some of {BANDS}",
    "data.bands=[B04,B04]": "data.bands=[B04, B04]: a band stands twice",
    "data.bands=rgb data.rgb=null": f"data.bands=rgb: data.rgb must name three of the bands {BANDS}",
    "data.rgb=[B04]": f"data.rgb=[B04]: it must name three of the bands {BANDS}",
    "data.rgb=[X,Y,Z]": f"data.rgb=[X, Y, Z]: it must name three of the bands {BANDS}",
    "data.band_names=[a,a]": "data.band_names=[a, a]: a name stands twice",
    "data.on_error=skip": "data.on_error=skip: synthetic scenes are never unreadable; leave it at raise",
    "model=timm model.timm_name=resnet81": "model.timm_name=resnet81: timm has no network of this name; did you mean ",
    "+model.kwargs.num_classes=3": "model.kwargs: num_classes is set by data and weights; leave it out",
    "+model.kwargs.in_chans=3": "model.kwargs: in_chans is set by data and weights; leave it out",
    "model=lenet data.image_size=8": "model=lenet: needs images of at least 16 pixels a side, data gives 8",
    "model=small_cnn data.image_size=15": "model=small_cnn: needs images of at least 16 pixels a side, data gives 15",
    "dropout=head dropout.p=null": "dropout.p: dropout=head needs a rate between 0 and 1",
    "norm=batch batch_size=1": "batch_size=1: batch normalisation cannot learn from one image; use at least 2",
    "weights=imagenet model=lenet": "weights=imagenet: there are no published weights for model=lenet; use weights=",
    "weights=imagenet weights.tag=foo": "weights.tag=foo: resnet18 has the tags a1_in1k, ",
    "weights=imagenet weights.file=/no/file": "weights.file=/no/file: there is no such file",
    "weights=file weights.path=/no/file": "weights.path=/no/file: there is no such file",
    "weights=run weights.run=abc": "weights.run=abc: there is no finished run in ",
    "trainer.devices=2": "trainer.devices=2: several devices need trainer=ddp",
    "trainer=ddp trainer.devices=4 batch_size=7": "batch_size=7: it is shared by 4 devices, which need 2 images each",
    "trainer=ddp trainer.accelerator=cpu": "trainer.devices=auto: the CPU has no devices to count; say how many",
    "trainer=cpu trainer.precision=16": "trainer.precision=16: needs a GPU; on the CPU use 32 or bf16",
    "optim=sgd optim.nesterov=true": "optim.nesterov=true: needs optim.momentum above 0",
    "data=eurosat data.root=/no": "data.root=/no: there is no folder /no/eurosat; put EuroSAT there, point data.root",
    "data=bigearthnet data.root=/no": "data.root=/no: there is no folder /no/bigearthnet; put BigEarthNet there, point",
    "data=sat6 data.root=/no": "data.root=/no: there is no folder /no/sat6; put SAT-6 there, point data.root",
    "data=so2sat data.version=3": "data.version=3: expected one of 2, 3_random, 3_block, 3_culture_10",
    "data=so2sat data.version=2 data.val_fraction=0.1": "data.val_fraction=0.1: version 2 of So2Sat has a val split of",
    "data=so2sat data.version=3_block": "data.version=3_block: has no val split; say how much of train becomes val",
    "data=so2sat data.bands=[S2_B02]": "data.bands: so2sat has no band S2_B02; allowed: all, rgb or some of S1_B1,",
    "data=sat6 data.val_fraction=1": "data.val_fraction=1: expected a number greater than 0 and less than 1",
    "data=patternnet data.fractions=[0.5,0.4,0.2]": "data.fractions=[0.5, 0.4, 0.2]: train, val, test must add up to 1",
    "data=patternnet data.fractions=[0.8,0,0.2]": "data.fractions=[0.8, 0.0, 0.2]: train, val, test must add up to 1",
    "data=bigearthnet data.num_classes=20": "data.num_classes=20: expected one of 19, 43",
    "data=bigearthnet data.labels=one": "data.labels=one: an image of BigEarthNet has several labels; use data.labels=",
    "data=sat6 data.labels=several": "data.labels=several: an image of SAT-6 has one label; use data.labels=one",
    "data=eurosat data.labels=several": "data.labels=several: an image of EuroSAT has one label; use data.labels=one",
    "data=folder data.root=/no": "data.root=/no: there is no folder /no; it must hold <class>/* or {train,val,test}/",
}


@pytest.mark.parametrize(("overrides", "expected"), REFUSED.items())
def test_what_cannot_work_is_refused(compose: Compose, overrides: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(*overrides.split(" "))
    assert str(refused.value).startswith(expected)
    assert "\n" not in str(refused.value)


FOLDER_REFUSED = {
    "data.fold=0": "data.fold=0 data.folds=None: k-fold needs both, such as data.fold=0 data.folds=5",
    "data.fold=5 data.folds=5": "data.fold=5: expected 0 to 4, since data.folds=5",
    "data.train_list=a.txt": "data.train_list and data.val_list go together; data.test_list may be left out",
    "data.split_by=group": "data.split_by=group: give either data.group_pattern or data.group_csv",
    "data.split_by=group data.group_pattern=x data.group_csv=y": "data.split_by=group: give either data.group_pattern",
    "data.split_by=block": "data.split_by=block: give data.block_size, the side of a block in units of the images' CRS",
    "data.fractions=[0.5,0.4,0.2]": "data.fractions=[0.5, 0.4, 0.2]: train, val, test must add up to 1, train and val",
    "data.fractions=[0.8,0,0.2]": "data.fractions=[0.8, 0.0, 0.2]: train, val, test must add up to 1, train",
}


@pytest.mark.parametrize(("overrides", "expected"), FOLDER_REFUSED.items())
def test_what_cannot_work_with_a_folder_is_refused(
    compose: Compose, tmp_path: Path, overrides: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        compose("data=folder", f"data.root={tmp_path}", *overrides.split(" "))
    assert str(refused.value).startswith(expected)


@pytest.mark.parametrize(
    "overrides",
    [
        "data.bands=B04",
        "data.bands=[B8A,B04]",
        "data.bands=rgb",
        "weights=imagenet",
        "weights=imagenet weights.tag=tv_in1k",
        "model=timm model.timm_name=convnext_atto",
        "model=lenet",
        "trainer=ddp trainer.devices=2 trainer.accelerator=cpu",
        "trainer=cpu trainer.precision=bf16",
        "optim=sgd optim.nesterov=true optim.momentum=0.9",
        "data=eurosat data.root=/no data.download=true",
        "norm=batch batch_size=2",
    ],
)
def test_what_can_work_is_accepted(compose: Compose, overrides: str) -> None:
    compose(*overrides.split(" "))


def test_a_file_that_cannot_be_fetched_is_not_offered_to_be(compose: Compose) -> None:
    for name in ("so2sat", "sat6"):
        with pytest.raises(ConfigError) as refused:
            compose(f"data={name}", "data.root=/no")
        assert "download" not in str(refused.value)


def test_an_absent_source_is_accepted_where_a_pack_may_stand_in(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "packs" / "eurosat-0123").mkdir(parents=True)
    compose("data=eurosat", "data.root=/no")
