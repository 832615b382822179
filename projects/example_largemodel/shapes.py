"""A small data set of discs, squares and triangles, drawn here: COCO format, no download.

python projects/example_largemodel/shapes.py
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

CLASSES = ('disc', 'square', 'triangle')
SPLITS = dict(train=16, validation=4)
HEIGHT, WIDTH, SEED = 64, 96, 56


def draw(rng: np.random.Generator) -> tuple[np.ndarray, list[dict]]:
    """Draw one to three shapes on noise.

    Args:
        rng (np.random.Generator): The source of all that is random.

    Returns:
        tuple[np.ndarray, list[dict]]: An image, (HEIGHT, WIDTH, 3), uint8, and for each shape its
        ``category_id``, ``bbox`` as (x, y, width, height) in pixels and ``area``.
    """
    image = rng.integers(90, 130, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    shapes = []
    for _ in range(rng.integers(1, 4)):
        kind, side = int(rng.integers(len(CLASSES))), int(rng.integers(14, 30))
        x, y = (int(rng.integers(0, length - side)) for length in (WIDTH, HEIGHT))
        color = [int(value) for value in rng.choice([20, 230], 3)]
        if CLASSES[kind] == 'disc':
            cv2.circle(image, (x + side // 2, y + side // 2), side // 2, color, -1)
        elif CLASSES[kind] == 'square':
            cv2.rectangle(image, (x, y), (x + side, y + side), color, -1)
        else:
            corners = np.array([(x, y + side), (x + side, y + side), (x + side // 2, y)])
            cv2.fillPoly(image, [corners], color)
        shapes.append(dict(category_id=kind, bbox=[x, y, side, side], area=side * side))
    return image, shapes


def write(root: Path) -> None:
    """Write the data set: the images of each split, and its ``annotations_coco.json``.

    Args:
        root (Path): Where; made anew.
    """
    for number, (split, count) in enumerate(SPLITS.items()):
        folder = root / split
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([SEED, number])
        images, annotations = [], []
        for image_id in range(count):
            image, shapes = draw(rng)
            name = f'{image_id:02}.png'
            if not cv2.imwrite(str(folder / name), image):
                raise OSError(f'{folder / name} could not be written')
            images.append(dict(id=image_id, file_name=name, height=HEIGHT, width=WIDTH))
            annotations += [
                dict(shape, id=len(annotations) + n, image_id=image_id, iscrowd=0)
                for n, shape in enumerate(shapes)
            ]
        (folder / 'annotations_coco.json').write_text(
            json.dumps(
                dict(
                    images=images,
                    annotations=annotations,
                    categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES)],
                )
            )
        )


def main() -> None:
    """Write the data set into the folder given."""
    parser = argparse.ArgumentParser(description='draw the data set of the tiny configs')
    parser.add_argument('root', nargs='?', type=Path, default=Path('data/shapes'))
    root = parser.parse_args().root
    write(root)
    print(f'{root}: {SPLITS}')


if __name__ == '__main__':
    main()
