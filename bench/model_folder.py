#!/usr/bin/env python3
"""Writes a model folder as Hugging Face publishes it, with random weights: what memory and loading are measured on.

Usage: model_folder.py CONFIG.json FOLDER [--dtype F32|F16|BF16] [--shards N] [--seed N]
CONFIG.json is that of a ViTForImageClassification. Only the standard library is needed.
"""
import argparse
import array
import json
import os
import random
import struct


def shapes(c):
    """Names and shapes of transformers' ViTForImageClassification, in the order of its file (by name)."""
    d, f, p = c['hidden_size'], c['intermediate_size'], c.get('patch_size', 16)
    tokens = (c.get('image_size', 224) // p) ** 2 + 1
    classes = len(c['id2label']) if 'id2label' in c else c.get('num_labels', 2)
    out = {
        'vit.embeddings.cls_token': [1, 1, d],
        'vit.embeddings.position_embeddings': [1, tokens, d],
        'vit.embeddings.patch_embeddings.projection.weight': [d, c.get('num_channels', 3), p, p],
        'vit.embeddings.patch_embeddings.projection.bias': [d],
        'vit.layernorm.weight': [d], 'vit.layernorm.bias': [d],
        'classifier.weight': [classes, d], 'classifier.bias': [classes],
    }
    for i in range(c['num_hidden_layers']):
        at = f'vit.encoder.layer.{i}.'
        for name, rows, cols in [('attention.attention.query', d, d), ('attention.attention.key', d, d),
                                 ('attention.attention.value', d, d), ('attention.output.dense', d, d),
                                 ('intermediate.dense', f, d), ('output.dense', d, f)]:
            out[at + name + '.weight'], out[at + name + '.bias'] = [rows, cols], [rows]
        for name in ('layernorm_before', 'layernorm_after'):
            out[at + name + '.weight'], out[at + name + '.bias'] = [d], [d]
    return dict(sorted(out.items()))


def count(shape):
    n = 1
    for extent in shape:
        n *= extent
    return n


def block(dtype, rng):
    """A megabyte or two of values of a normal distribution, sigma 0.02; tensors are cut from it at varying places."""
    values = [rng.gauss(0, 0.02) for _ in range(1 << 18)]
    if dtype == 'F32':
        return array.array('f', values).tobytes() * 2
    if dtype == 'F16':
        return struct.pack('<%de' % len(values), *values) * 2
    words = array.array('I', array.array('f', values).tobytes())
    return array.array('H', (w >> 16 for w in words)).tobytes() * 2


def write(path, tensors, dtype, data, rng):
    size = 4 if dtype == 'F32' else 2
    header, at = {'__metadata__': {'format': 'pt'}}, 0
    for name, shape in tensors.items():
        n = count(shape) * size
        header[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [at, at + n]}
        at += n
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    half = len(data) // 2
    with open(path, 'wb') as out:
        out.write(struct.pack('<Q', len(text)) + text)
        for shape in tensors.values():
            left = count(shape) * size
            while left:
                n, first = min(left, half), rng.randrange(half // size) * size
                out.write(data[first:first + n])
                left -= n


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('folder')
    parser.add_argument('--dtype', choices=['F32', 'F16', 'BF16'], default='F32')
    parser.add_argument('--shards', type=int, default=1)
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    with open(args.config, encoding='utf-8') as f:
        config = json.load(f)
    if config.get('model_type') != 'vit':
        parser.error(f'{args.config}: expected model_type vit, got {config.get("model_type")}')
    os.makedirs(args.folder, exist_ok=True)
    rng = random.Random(args.seed)
    data, tensors = block(args.dtype, rng), shapes(config)
    names = list(tensors)
    if args.shards == 1:
        write(f'{args.folder}/model.safetensors', tensors, args.dtype, data, rng)
    else:
        files = {}
        for s in range(args.shards):
            part = names[s * len(names) // args.shards:(s + 1) * len(names) // args.shards]
            file = f'model-{s + 1:05d}-of-{args.shards:05d}.safetensors'
            write(f'{args.folder}/{file}', {n: tensors[n] for n in part}, args.dtype, data, rng)
            files.update({n: file for n in part})
        with open(f'{args.folder}/model.safetensors.index.json', 'w', encoding='utf-8') as out:
            json.dump({'metadata': {}, 'weight_map': files}, out, indent=1)
    with open(f'{args.folder}/config.json', 'w', encoding='utf-8') as out:
        json.dump(config, out, indent=1)


if __name__ == '__main__':
    main()
