package kafka

const keyProduce = 0
