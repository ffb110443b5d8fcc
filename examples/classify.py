"""From a network file to classes, in Python: `python examples/classify.py [DEVICE]`.

DEVICE is golden (as it is without one), virtual, a serial port, or socket://HOST:PORT.
"""

from __future__ import annotations

import sys

from plum_host import Bundle, Session, load_images
from plum_hw.compiler import check_network, compile_network
from plum_hw.demo import IMAGES, NETWORK, shipped
from plum_hw.ir import load_network
from plum_hw.presets import preset


def main(device: str = "golden", count: int = 8) -> int:
    """Classify the first test images; the number of right answers."""
    network = load_network(shipped(NETWORK))
    array = preset("arty-a7-35t")
    for problem in check_network(network, array):
        raise SystemExit(problem.text)
    bundle: Bundle = compile_network(network, array)
    print(
        f"{network.name} on {array.name}: {bundle.manifest['predicted_cycles']:,} cycles an image"
    )

    images, labels = load_images(shipped(IMAGES))
    assert labels is not None
    names = network.labels or ()
    # The same lines for the golden machine, the virtual board and a real one.
    with Session.open(device, array) as session:
        session.load(bundle)
        result = session.run(images[:count])
    classes = result.outputs.argmax(axis=1)
    for number, (guess, truth) in enumerate(zip(classes, labels, strict=False)):
        print(f"image {number}: {names[guess]}{'' if guess == truth else f' (is {names[truth]})'}")
    return int((classes == labels[:count]).sum())


if __name__ == "__main__":
    main(*sys.argv[1:2])
